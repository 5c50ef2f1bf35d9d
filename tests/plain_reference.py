"""The plain interpretation and drawing that the benchmarks measure against, as an oracle."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_spec = spec_from_file_location(
    "plain", Path(__file__).resolve().parents[1] / "benchmarks" / "plain.py"
)
assert _spec is not None
assert _spec.loader is not None
plain = module_from_spec(_spec)
_spec.loader.exec_module(plain)
