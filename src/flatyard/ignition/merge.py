"""Laying a child config over its parent, as Ignition does with `ignition.config.merge`.

A field that the child gives wins; structures merge field by field. Lists keep the parent's order: entries
with the child's key merge in place, the child's others follow. Source: the operator notes of Ignition,
"Config merging", and the reference's results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from operator import attrgetter

from flatyard.base.typed import TYPE_CHECKING, cast
from flatyard.ignition import schema, types
from flatyard.ignition.duplicates import partition_key
from flatyard.ignition.schema import Field, Kind
from flatyard.ignition.types import Config, HttpHeader, KernelArguments, Resource, Storage

if TYPE_CHECKING:
    from typing import TypeVar

    _T = TypeVar("_T")
_Key = Callable[[object], str]


def merge(parent: Config, child: Config) -> Config:
    """`child` over `parent`; both of one spec version (see `parse.up_translate`).

    The result may be invalid although both were valid, so validate it again.
    """
    return _merge_struct(parent, child)


def merge_all(configs: Iterable[Config]) -> Config:
    """Any number of configs, each over what came before. At least one is needed."""
    first, *others = configs
    for config in others:
        first = merge(first, config)
    return first


_APPENDED = {
    (types.File, "append"),
    (types.Filesystem, "options"),
    (types.Filesystem, "mount_options"),
    (types.Raid, "options"),
    (types.Luks, "options"),
}
_NODE_LISTS = ("directories", "files", "links")
_KEYS: dict[type, _Key] = {
    types.Partition: lambda p: partition_key(cast(types.Partition, p)),
    types.Resource: lambda r: cast(Resource, r).source or "",
}
_KEY_FIELDS: dict[type, str] = {
    types.Disk: "device",
    types.Raid: "name",
    types.Filesystem: "device",
    types.Luks: "name",
    types.Tang: "url",
    types.Directory: "path",
    types.File: "path",
    types.Link: "path",
    types.Unit: "name",
    types.Dropin: "name",
    types.User: "name",
    types.Group: "name",
    types.HttpHeader: "name",
}


@cache
def _key_of(cls: type) -> _Key:
    return _KEYS.get(cls) or attrgetter(_KEY_FIELDS[cls])


def _merge_struct(parent: _T, child: _T) -> _T:
    cls = type(child)
    merger = _SPECIAL.get(cls, _merge_fields)
    return cls(**merger(parent, child))


def _merge_fields(parent: object, child: object, skip: tuple[str, ...] = ()) -> dict[str, object]:
    cls: type = child.__class__
    return {
        f.attr: _merge_field(cls, f, getattr(parent, f.attr), getattr(child, f.attr))
        for f in schema.fields(cls)
        if f.attr not in skip
    }


def _merge_field(cls: type, field: Field, parent: object, child: object) -> object:
    if field.kind is Kind.STRUCT:
        if child == type(child)():
            return parent
        return child if parent == type(parent)() else _merge_struct(parent, child)
    if field.kind in (Kind.STRINGS, Kind.STRUCTS):
        return _merge_list(cls, field, cast("tuple[object, ...]", parent), cast("tuple[object, ...]", child))
    if field.nullable and child is None:
        return parent
    return child


def _merge_list(
    cls: type, field: Field, parent: tuple[object, ...], child: tuple[object, ...]
) -> tuple[object, ...]:
    if (cls, field.attr) in _APPENDED:
        return parent + child
    if field.struct is None:
        return _union(parent, child)
    if field.struct is HttpHeader:
        return _merge_headers(cast("tuple[HttpHeader, ...]", parent), cast("tuple[HttpHeader, ...]", child))
    return _merge_keyed(parent, child, _key_of(field.struct))


def _union(parent: tuple[object, ...], child: tuple[object, ...]) -> tuple[object, ...]:
    known = set(parent)
    return parent + tuple(item for item in child if item not in known)


def _merge_keyed(parent: tuple[object, ...], child: tuple[object, ...], key: _Key) -> tuple[object, ...]:
    """Of several child entries with one key, the last counts for the parent's; repeated entries of the child
    alone stay repeated, for validation to find."""
    if not parent:
        return child
    by_key = {key(item): item for item in child}
    merged = [_merge_struct(item, by_key[key(item)]) if key(item) in by_key else item for item in parent]
    known = {key(item) for item in parent}
    return (*merged, *(item for item in child if key(item) not in known))


def _merge_headers(parent: tuple[HttpHeader, ...], child: tuple[HttpHeader, ...]) -> tuple[HttpHeader, ...]:
    """A child's header without a value takes the parent's away."""
    removed = {h.name for h in child if h.value is None} & {h.name for h in parent}
    kept = tuple(h for h in parent if h.name not in removed)
    given = tuple(h for h in child if h.name not in removed)
    return cast("tuple[HttpHeader, ...]", _merge_keyed(kept, given, _key_of(HttpHeader)))


def _merge_storage(parent: object, child: object) -> dict[str, object]:
    """Directories, files and links share one namespace: a child's node of another kind replaces."""
    above, below = cast(Storage, parent), cast(Storage, child)
    values = _merge_fields(above, below, _NODE_LISTS)
    owner = {node.path: name for name in _NODE_LISTS for node in getattr(below, name)}
    for name in _NODE_LISTS:
        kept = tuple(n for n in getattr(above, name) if owner.get(n.path, name) == name)
        values[name] = _merge_keyed(kept, getattr(below, name), _key_of(types.File))
    return values


def _merge_kernel_arguments(parent: object, child: object) -> dict[str, object]:
    """An argument that the child wants the other way round leaves the parent's list."""
    above, below = cast(KernelArguments, parent), cast(KernelArguments, child)
    removed, added = set(below.should_not_exist), set(below.should_exist)
    present = tuple(a for a in above.should_exist if a not in removed)
    absent = tuple(a for a in above.should_not_exist if a not in added)
    return {
        "should_exist": _union(present, below.should_exist),
        "should_not_exist": _union(absent, below.should_not_exist),
    }


_SPECIAL: dict[type, Callable[[object, object], dict[str, object]]] = {
    Storage: _merge_storage,
    KernelArguments: _merge_kernel_arguments,
}
