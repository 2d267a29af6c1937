"""Frozen dataclasses whose methods are written when they are first needed.

`dataclasses` compiles four methods for every class and imports `inspect` for it, which for a model of a hundred
classes takes longer than the work of a short command. Here a class costs what its `class` statement costs: the
first few values are made by a common constructor, and a class that goes on being used gets a compiled one, which
is faster than the standard one. `dataclasses.fields`, `replace`, `asdict` and `is_dataclass` work on the result.

    from flatyard.base.values import dataclass, replace

For type checkers these are the standard functions. Only the frozen form with slots exists, its defaults are plain
values, and it has no bases that have fields.
"""

from __future__ import annotations

from operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

FIRST_FEW = 12
"""Values of a class that the common constructor makes before it is worth compiling one."""


class _Plan:
    """What the methods of one class know: names, defaults and the slots to set."""

    __slots__ = ("cls", "defaults", "finish", "known", "made", "names", "setters", "values")

    def __init__(self, cls: type, names: tuple[str, ...], defaults: dict[str, object]) -> None:
        self.cls = cls
        self.names = names
        self.known = frozenset(names)
        self.defaults = defaults
        self.setters = tuple(getattr(cls, name).__set__ for name in names)
        self.finish = hasattr(cls, "__post_init__")
        self.made = 0
        self.values = _getter(names)

    def make(self, value: object, args: tuple[object, ...], given: dict[str, object]) -> None:
        """What the compiled constructor does, for any class; that one also has the words for wrong arguments."""
        self.made += 1
        found = {**self.defaults, **dict(zip(self.names, args, strict=False)), **given}
        twice = len(args) > len(self.names) or not given.keys().isdisjoint(self.names[: len(args)])
        if twice or self.made > FIRST_FEW or found.keys() != self.known:
            self.compile()(value, *args, **given)
            return
        for name, setter in zip(self.names, self.setters, strict=True):
            setter(value, found[name])
        if self.finish:
            value.__post_init__()  # type: ignore[attr-defined]

    def compile(self) -> Callable[..., None]:
        """Gives the class a constructor of its own."""
        scope: dict[str, object] = {}
        parameters, lines = ["self"], []
        for name, setter in zip(self.names, self.setters, strict=True):
            scope[f"_set_{name}"] = setter
            if name in self.defaults:
                scope[f"_default_{name}"] = self.defaults[name]
                parameters.append(f"{name}=_default_{name}")
            else:
                parameters.append(name)
            lines.append(f" _set_{name}(self, {name})")
        if self.finish:
            lines.append(" self.__post_init__()")
        exec(f"def __init__({', '.join(parameters)}):\n" + "\n".join(lines or [" pass"]), scope)
        made: Any = scope["__init__"]
        made.__qualname__ = f"{self.cls.__qualname__}.__init__"
        made.__module__ = self.cls.__module__
        self.cls.__init__ = made  # type: ignore[misc]
        return made  # type: ignore[no-any-return]


def _getter(names: tuple[str, ...]) -> Callable[[object], tuple[object, ...]]:
    """All fields of a value as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    if names:
        only = attrgetter(names[0])
        return lambda value: (only(value),)
    return lambda _: ()


class _Frozen:
    """The methods of every class, to be copied into it."""

    __slots__ = ()
    _plan_: ClassVar[_Plan]

    def __init__(self, /, *args: object, **given: object) -> None:
        self._plan_.make(self, args, given)

    def __repr__(self) -> str:
        plan = self._plan_
        inner = zip(plan.names, plan.values(self), strict=True)
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in inner)})"

    def __setattr__(self, name: str, value: object) -> None:
        raise _frozen(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise _frozen(f"cannot delete field {name!r}")

    def __getstate__(self) -> tuple[object, ...]:
        return self._plan_.values(self)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        for setter, value in zip(self._plan_.setters, state, strict=True):
            setter(self, value)

    def __replace__(self, /, **changes: object) -> object:
        return _replace(self, **changes)


class _Comparing:
    """Equal by class and fields."""

    __slots__ = ()
    _plan_: ClassVar[_Plan]

    def __eq__(self, other: object) -> bool:
        if self.__class__ is not other.__class__:
            return NotImplemented
        values = self._plan_.values
        return self is other or values(self) == values(other)

    def __hash__(self) -> int:
        return hash(self._plan_.values(self))


class _Ordered:
    """Ordered by fields, among values of one class."""

    __slots__ = ()
    _plan_: ClassVar[_Plan]

    def __lt__(self, other: object) -> bool:
        values = self._plan_.values
        return values(self) < values(other) if self.__class__ is other.__class__ else NotImplemented

    def __le__(self, other: object) -> bool:
        values = self._plan_.values
        return values(self) <= values(other) if self.__class__ is other.__class__ else NotImplemented

    def __gt__(self, other: object) -> bool:
        values = self._plan_.values
        return values(self) > values(other) if self.__class__ is other.__class__ else NotImplemented

    def __ge__(self, other: object) -> bool:
        values = self._plan_.values
        return values(self) >= values(other) if self.__class__ is other.__class__ else NotImplemented


def _methods(*sources: type) -> dict[str, object]:
    kept = ("__slots__", "__module__", "__qualname__", "__annotations__", "__doc__", "_plan_")
    return {
        name: method
        for source in sources
        for name, method in vars(source).items()
        if callable(method) and name not in kept
    }


_PLAIN = _methods(_Frozen)
_BY_FIELDS = _methods(_Frozen, _Comparing)
_IN_ORDER = _methods(_Frozen, _Comparing, _Ordered)


def _frozen(what: str) -> AttributeError:
    from dataclasses import FrozenInstanceError

    return FrozenInstanceError(what)


class _Standard:
    """`__dataclass_fields__` or `__dataclass_params__`, made by the standard library when it asks for them."""

    __slots__ = ("name", "options")

    def __init__(self, name: str, options: dict[str, bool]) -> None:
        self.name = name
        self.options = options

    def __get__(self, value: object, owner: type[_Frozen]) -> object:
        import dataclasses

        plan = owner._plan_
        hints = {name: plan.cls.__annotations__[name] for name in plan.names}
        body = {"__annotations__": hints, "__module__": plan.cls.__module__, **plan.defaults}
        bare: type = type(plan.cls.__name__, (), body)
        twin: type = dataclasses.dataclass(frozen=True, **self.options)(bare)
        made: object = getattr(twin, self.name)
        setattr(plan.cls, self.name, made)
        return made


def _dataclass(
    *, frozen: bool, slots: bool, eq: bool = True, order: bool = False
) -> Callable[[type], type[_Frozen]]:
    """The class decorator; `frozen` and `slots` are no options here, they are said so that the reader knows."""
    assert frozen and slots, "only the frozen form with slots exists here"
    methods = _IN_ORDER if order else _BY_FIELDS if eq else _PLAIN
    options = {"eq": eq, "order": order}

    def decorate(bare: type) -> type[_Frozen]:
        body = dict(bare.__dict__)
        names = tuple(name for name, hint in bare.__annotations__.items() if not _is_shared(hint))
        defaults = {name: body.pop(name) for name in names if name in body}
        for left_over in ("__dict__", "__weakref__"):
            body.pop(left_over, None)
        standard = {
            name: _Standard(name, options) for name in ("__dataclass_fields__", "__dataclass_params__")
        }
        body = {"__slots__": names, "__match_args__": names, **methods, **standard, **body}
        made: type[_Frozen] = type(bare)(bare.__name__, bare.__bases__, body)
        made.__qualname__ = bare.__qualname__
        made._plan_ = _Plan(made, names, defaults)
        return made

    return decorate


def _is_shared(hint: object) -> bool:
    return str(hint).startswith("ClassVar[")


def _replace(value: object, /, **changes: object) -> object:
    """The value with some fields changed; what the standard function does, without importing it."""
    plan: _Plan | None = getattr(value, "_plan_", None)
    if plan is None:
        import dataclasses

        return dataclasses.replace(value, **changes)  # type: ignore[type-var]
    given = dict(zip(plan.names, plan.values(value), strict=True))
    return type(value)(**{**given, **changes})


if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:
    dataclass = _dataclass
    replace = _replace

__all__ = ["dataclass", "replace"]
