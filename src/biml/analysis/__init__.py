"""Behaviour of people and models: each measure a function from responses to a table."""

from importlib.util import find_spec

from biml.errors import BimlError

_MISSING = [name for name in ("pandas", "pyarrow", "scipy", "statsmodels") if not find_spec(name)]

if _MISSING:
    raise BimlError(
        f"tables of behaviour need {' and '.join(_MISSING)}; "
        "install what is missing with: pip install 'biml[analysis]' (in a checkout: '.[analysis]')"
    )
