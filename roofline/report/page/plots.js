/* What all plots share: colours, axes, and drawing only what is on the screen. */

/* Okabe and Ito's colours, which colour-blind readers tell apart, and some that stand beside them; symbols repeat the difference. */
const COLOURS = ["#2f86c9", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8f5fd7", "#a65628", "#b7a900", "#7f7f7f"];
const SYMBOLS = ["circle", "diamond", "square", "triangle-up", "cross", "x", "star", "triangle-down", "hexagon", "bowtie"];
const PARTS = ["compute", "memory", "overhead", "occupancy"];

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const narrow = () => innerWidth < 700;

/* Dark or light, what reads better on a colour such as #0072b2. */
function inkOn(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255);
  return 0.2126 * r ** 2.2 + 0.7152 * g ** 2.2 + 0.0722 * b ** 2.2 > 0.26 ? "#111418" : "#ffffff";
}

/* The page stays off the network: no button that shares a chart. */
const OPTIONS = {
  displaylogo: false,
  responsive: true,
  plotlyServerURL: "",
  doubleClick: "reset",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
};

function axis(title, more = {}) {
  return {
    title: { text: title, standoff: 8 },
    gridcolor: css("--grid"),
    linecolor: css("--line"),
    tickcolor: css("--line"),
    zeroline: false,
    automargin: true,
    exponentformat: "SI",
    ...more,
  };
}

function base(more = {}) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: css("--ink"), family: "system-ui, sans-serif", size: narrow() ? 11 : 12.5 },
    margin: { l: narrow() ? 48 : 64, r: 12, t: 12, b: 48 },
    hovermode: "closest",
    hoverlabel: {
      bgcolor: css("--paper"),
      bordercolor: css("--line"),
      font: { color: css("--ink"), size: 12 },
      align: "left",
      namelength: -1,
    },
    legend: { orientation: "h", y: -0.16, yanchor: "top", x: 0, font: { size: narrow() ? 10.5 : 12 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--ink"), orientation: "h" },
    ...more,
  };
}

/* Draw by plotly, and tell of clicks on points, which carry their kernel as customdata. */
function plot(id, traces, layout, onclick) {
  const element = byId(id);
  const options = narrow() ? { ...OPTIONS, displayModeBar: false } : OPTIONS;
  Plotly.react(element, traces, layout, options);
  element.removeAllListeners?.("plotly_click");
  if (onclick) element.on("plotly_click", (event) => onclick(event.points[0], event));
  return element;
}

/* Draw each section when it is seen first, and again when it is seen after a change; an eager one at once. */
const Lazy = {
  sections: new Map(),
  observer: null,

  add(id, draw, eager = false) {
    this.sections.set(id, { draw, stale: true, visible: eager });
    if (eager) {
      this.draw(this.sections.get(id));
      return;
    }
    this.observer ??= new IntersectionObserver((found) => found.forEach((f) => this.seen(f.target.id, f.isIntersecting)), {
      rootMargin: "300px",
    });
    this.observer.observe(byId(id));
  },

  seen(id, visible) {
    const section = this.sections.get(id);
    section.visible = visible;
    if (visible && section.stale) this.draw(section);
  },

  draw(section) {
    section.stale = false;
    section.draw();
  },

  stale(ids = [...this.sections.keys()]) {
    for (const id of ids) {
      const section = this.sections.get(id);
      if (!section) continue;
      section.stale = true;
      if (section.visible) this.draw(section);
    }
  },

  all() {
    for (const section of this.sections.values()) if (section.stale) this.draw(section);
  },
};
