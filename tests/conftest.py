"""Keep the user's cache, profiles and settings out of the tests, and what the tests write out of the user's folders."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("roofline", database=None)  # no examples are kept in the checkout
settings.load_profile("roofline")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that rewrites the reports in tests/golden."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden with what the reports print now")


@pytest.fixture(scope="session", autouse=True)
def _private_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROOFLINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.delenv("ROOFLINE_HARDWARE", raising=False)
        patch.delenv("ROOFLINE_CACHE_LIMIT", raising=False)
        yield
