"""Open the study of a search: in memory, or in a storage where one that was cut off goes on."""

import json
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from roofline.errors import RooflineError
from roofline.studies.goals import Goal

if TYPE_CHECKING:
    from optuna import Study

ATTRIBUTE = "roofline.search"
"""User attribute of a study that describes its search."""


def optuna_or_raise() -> None:
    """Raise RooflineError, naming the extra to install, where Optuna is absent."""
    try:
        import optuna  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise RooflineError("a search needs Optuna; install it with: pip install 'roofline[search]'") from error


@contextmanager
def opened(storage: str | None, name: str, goals: Sequence[Goal], description: Mapping[str, Any]) -> Generator["Study"]:
    """Open the study called *name*, new or with the trials that it has; its connections are closed in the end.

    Raises RooflineError for a *storage* that cannot be opened, and for a study that was made by another search.
    """
    import optuna

    directions: Any = [goal.direction for goal in goals]
    if storage is None:
        yield optuna.create_study(directions=directions, study_name=name)
        return
    if "://" not in storage:
        raise RooflineError(f"bad storage {storage!r}; write it as a URL, such as sqlite:///{storage or 'search.db'}")
    shown = re.sub(r"//[^/@]*@", "//***@", storage)
    held: Any = None
    try:
        try:
            held = optuna.storages.RDBStorage(storage)
            study = optuna.create_study(storage=held, study_name=name, directions=directions, load_if_exists=True)
            _agree(study, name, shown, directions, description)
        except RooflineError:
            raise
        except Exception as error:  # of the database, its driver or the URL: each has errors of its own
            lines = str(error).strip().splitlines() or [type(error).__name__]
            message = lines[0].replace(storage, shown)[:200]
            raise RooflineError(f"cannot open the storage {shown}: {message.rstrip('.')}; name a database that is yours") from error
        yield study
    finally:
        if held is not None:
            held.remove_session()
            held.engine.dispose()


def _agree(study: "Study", name: str, storage: str, directions: Sequence[str], description: Mapping[str, Any]) -> None:
    """Raise RooflineError where *study* belongs to another search; leave the description of this one in a new study."""
    known = study.user_attrs.get(ATTRIBUTE)
    if known is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(ATTRIBUTE, dict(description))
        return
    wanted = json.loads(json.dumps(description))
    other = ["description"] if not isinstance(known, dict) else [key for key, value in wanted.items() if known.get(key) != value]
    if other or [d.name.lower() for d in study.directions] != list(directions):
        told = ", ".join(other) or "objectives"
        raise RooflineError(f"study {name!r} in {storage} is of another search (it differs in {told}); give --study another name")
