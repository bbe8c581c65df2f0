/* Read one choice out of the book: its totals, and its kernels as plain objects. Sums and ratios only. */

const AXES = ["model", "device", "precision", "mode", "what_if", "batch"];

/* The cell of a choice; it may hold only the reason why it cannot be shown. */
function cellOf(book, choice) {
  let at = 0;
  for (const axis of AXES.slice(0, -1)) at = at * book.axes[axis].length + book.axes[axis].indexOf(choice[axis]);
  return book.cells[at];
}

/* Everything that the views show of *choice*. */
function read(book, choice) {
  const cell = cellOf(book, choice);
  return of(book, book.programs[cell.program], cell, book.axes.batch.indexOf(choice.batch), {
    choice,
    model: book.models[choice.model],
    device: book.devices.find((d) => d.id === choice.device),
    measured: (book.measured || []).find((m) => AXES.every((axis) => m.choice[axis] === choice[axis])),
  });
}

/* The kernels and totals of a program on a device; *b* is the position of the batch. */
function of(book, program, cell, b, more) {
  const totals = cell.totals[b],
    levels = Object.keys(cell.level_bytes);
  const pick = (arrays, row) => Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, array[b][row]]));
  const kernels = [];
  program.row.forEach((row, at) => {
    const t = pick(cell.times, row);
    if (!program.dispatched[row] && !(t.seconds > 0)) return;
    const work = pick(program.work, row),
      flops = work.matrix_flops + work.vector_flops;
    const bytes = work.weight_bytes + work.input_bytes + work.output_bytes;
    const parts = [t.compute, t.memory, t.overhead, t.occupancy],
      bound = cell.bound[b][row],
      next = cell.runner_up[b][row];
    kernels.push({
      at,
      kernel: program.kernel[at],
      layer: book.layers[program.layer[at]],
      path: book.paths[program.path[at]],
      ops: book.ops[program.ops[at]],
      kind: book.kinds[program.kind[row]],
      ...work,
      flops,
      bytes,
      ...t,
      matrix_dtype: book.dtypes[program.matrix_dtype[row]],
      vector_dtype: book.dtypes[program.vector_dtype[row]],
      intensity: bytes ? flops / bytes : 0,
      achieved: flops / t.seconds,
      reached: t.limit / t.seconds,
      low: t.seconds * cell.kernel_interval[0],
      high: t.seconds * cell.kernel_interval[1],
      bound: book.bounds[bound],
      runner_up: book.bounds[next],
      margin: parts[next] > 0 ? parts[bound] / parts[next] : Infinity,
      split: [t.own_compute, t.own_memory, t.overhead, t.occupancy],
      level_bytes: pick(cell.level_bytes, row),
      live: program.live_bytes[b][at],
    });
  });
  const whole = totals.latency_seconds,
    seen = new Map();
  let so_far = 0;
  kernels.forEach((k, i) => {
    k.index = i;
    k.share = k.seconds / whole;
    so_far += k.seconds;
    k.cumulative = so_far / whole;
  });
  // Casts count last among the kernels of a layer: they come and go with the precision.
  for (const k of [...kernels.filter((o) => o.kind !== "cast"), ...kernels.filter((o) => o.kind === "cast")]) {
    k.ordinal = seen.get(k.layer) || 0;
    seen.set(k.layer, k.ordinal + 1);
  }
  const view = {
    book,
    program,
    cell,
    kernels,
    totals,
    levels,
    bounds: book.bounds,
    inputs: program.inputs[b],
    peak: program.peak[b],
    params: more.model ? more.model.params : 0,
    ...more,
  };
  if (view.measured) attach(view);
  return view;
}

/* Give each kernel that was timed alone its measured seconds. */
function attach(view) {
  const times = new Map(view.measured.kernels.map((k, i) => [k, view.measured.seconds[i]]));
  for (const k of view.kernels) if (times.has(k.kernel)) k.measured = times.get(k.kernel);
}

/* Sum kernels by what *key* gives; the slowest first. */
function grouped(kernels, key) {
  const groups = new Map();
  for (const k of kernels) {
    const name = key(k);
    if (!groups.has(name)) groups.set(name, { name, n: 0, seconds: 0, macs: 0, flops: 0, bytes: 0, by: {}, members: [] });
    const g = groups.get(name);
    g.n += 1;
    g.seconds += k.seconds;
    g.macs += k.macs;
    g.flops += k.flops;
    g.bytes += k.bytes;
    g.by[k.bound] = (g.by[k.bound] || 0) + k.seconds;
    g.members.push(k);
  }
  return [...groups.values()].sort((a, b) => b.seconds - a.seconds);
}

/* What holds most of a group's time. */
const boundOf = (group) => Object.entries(group.by).reduce((a, b) => (b[1] > a[1] ? b : a), ["", -1])[0];
