"""PyYAML's binding of libyaml without the rest of PyYAML, for a process that reads YAML and does little else.

`import yaml` loads a scanner, a parser, constructors and an emitter in Python, of which the binding uses nothing but
the names of their exceptions; it takes seven times as long as the binding alone, and a third of what `flatyard
butane` may take. `alone` puts small modules with those names in their place. The rest of PyYAML is then out of
reach in this process, so only a program's entry may call it, never the library.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType

_EXCEPTIONS = {
    "scanner": "ScannerError",
    "parser": "ParserError",
    "composer": "ComposerError",
    "constructor": "ConstructorError",
    "emitter": "EmitterError",
    "serializer": "SerializerError",
    "representer": "RepresenterError",
}


def alone() -> bool:
    """Make `yaml` the binding and its events only; whether it is.

    Does nothing where PyYAML is loaded already, and leaves the way to the whole of it open where the binding
    wants more than is known here.
    """
    if "yaml" in sys.modules:
        return False
    found = PathFinder.find_spec("yaml")
    if found is None or not found.submodule_search_locations:
        return False
    package = ModuleType("yaml")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["yaml"] = package
    try:
        _fill(package)
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "yaml"]:
            del sys.modules[name]
        return False
    return True


def _fill(package: ModuleType) -> None:
    from yaml.error import MarkedYAMLError, YAMLError

    class ReaderError(YAMLError):
        """Characters or bytes that YAML does not allow."""

        def __init__(
            self, name: object, position: int, character: int | str, encoding: str, reason: str
        ) -> None:
            super().__init__(reason)
            self.name = name
            self.position = position
            self.character = character
            self.encoding = encoding
            self.reason = reason

    _module(package, "reader", ReaderError)
    for name, exception in _EXCEPTIONS.items():
        _module(package, name, type(exception, (MarkedYAMLError,), {}))
    for name in ("tokens", "events", "nodes", "_yaml"):
        import_module(f"{package.__name__}.{name}")


def _module(package: ModuleType, name: str, exception: type[Exception]) -> None:
    full = f"{package.__name__}.{name}"
    module = ModuleType(full)
    setattr(module, exception.__name__, exception)
    setattr(package, name, module)
    sys.modules[full] = module
