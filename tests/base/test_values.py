"""`base.values.dataclass` is the standard one, only lighter: everything that can be seen from outside is equal."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from typing import ClassVar

import pytest

from flatyard.base import values


def both(**options):
    """The same class from the light and from the standard decorator."""

    def body():
        class Place:
            """A place."""

            KIND: ClassVar[str] = "place"
            file: str
            line: int = 1
            names: tuple[str, ...] = ()

            def __str__(self) -> str:
                return f"{self.file}:{self.line}"

            @property
            def first(self) -> str:
                return self.names[0]

        return Place

    light = values.dataclass(frozen=True, slots=True, **options)(body())
    return light, dataclasses.dataclass(frozen=True, slots=True, **options)(body())


@values.dataclass(frozen=True, slots=True)
class Pickled:
    file: str
    line: int = 1


@values.dataclass(frozen=True, slots=True)
class Checked:
    size: int = 0

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(self.size)


@values.dataclass(frozen=True, slots=True)
class Nothing:
    pass


def rounds():
    """Before and after a class gets its compiled constructor."""
    return range(values.FIRST_FEW * 2)


def test_values_look_alike():
    light, standard = both()
    for _ in rounds():
        for args, given in ((("a",), {}), (("a", 2), {}), (("a",), {"names": ("x",)}), ((), {"file": "b"})):
            mine, theirs = light(*args, **given), standard(*args, **given)
            assert repr(mine) == repr(theirs)
            assert str(mine) == str(theirs)
            assert dataclasses.astuple(mine) == dataclasses.astuple(theirs)
            assert dataclasses.asdict(mine) == dataclasses.asdict(theirs)
            assert hash(mine) == hash(theirs)
            assert mine == light(*args, **given)
            assert mine != theirs
    assert light("a", names=("x",)).first == "x"
    assert (light.KIND, light.__doc__, light.__match_args__) == ("place", "A place.", standard.__match_args__)
    assert not hasattr(light("a"), "__dict__")


@pytest.mark.parametrize(
    ("args", "given"),
    [
        ((), {}),
        (("a", 1, (), 4), {}),
        (("a",), {"file": "b"}),
        (("a",), {"other": 1}),
        ((), {"line": 1, "z": 2}),
    ],
)
def test_wrong_arguments_have_pythons_words(args, given):
    light, standard = both()
    for _ in rounds():
        with pytest.raises(TypeError) as mine:
            light(*args, **given)
        with pytest.raises(TypeError) as theirs:
            standard(*args, **given)
        assert str(mine.value) == str(theirs.value)


def test_frozen():
    light, standard = both()
    for act in (
        lambda place: setattr(place, "line", 2),
        lambda place: setattr(place, "other", 2),
        lambda place: delattr(place, "line"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            act(light("a"))
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
            act(standard("a"))


def test_the_standard_functions_know_them():
    light, standard = both(order=True)
    assert dataclasses.is_dataclass(light)
    described = [[(f.name, f.type, f.default) for f in dataclasses.fields(cls)] for cls in (light, standard)]
    assert described[0] == described[1]
    assert dataclasses.fields(light("a")) == dataclasses.fields(light)
    for replace in (dataclasses.replace, values.replace):
        assert replace(light("a", 2), line=3) == light("a", 3)
        with pytest.raises(TypeError):
            replace(light("a"), other=1)
    assert values.replace(standard("a"), line=3) == standard("a", 3)


def test_identity_and_order():
    light, _ = both(eq=False)
    assert light("a") != light("a")
    assert len({light("a"), light("a")}) == 2
    light, standard = both(order=True)
    pairs = [("a", 2), ("b", 1), ("a", 1)]
    assert [dataclasses.astuple(p) for p in sorted(light(*pair) for pair in pairs)] == [
        dataclasses.astuple(p) for p in sorted(standard(*pair) for pair in pairs)
    ]
    assert light("a") <= light("a") < light("b")
    assert light("b") >= light("b") > light("a")
    with pytest.raises(TypeError):
        assert light("a") < standard("b")


def test_copies_and_pickles():
    for value in (Pickled("a", 2), Pickled("b"), Nothing(), Checked(3)):
        assert pickle.loads(pickle.dumps(value)) == value
        assert copy.copy(value) == value
        assert copy.deepcopy(value) == value


def test_post_init_runs():
    for _ in rounds():
        assert Checked(1).size == 1
        with pytest.raises(ValueError, match="-1"):
            Checked(-1)


def test_patterns_match():
    match Pickled("a", 2):
        case Pickled(file, line):
            assert (file, line) == ("a", 2)


def test_it_imports_nothing():
    probe = (
        "import sys, flatyard.base.values; print({'dataclasses', 'inspect', 're', 'typing'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
