from tests.domain.imports.conftest import settings, worker  # noqa: F401  (fixtures)
