"""The tables of docs/clouds.md: what each cloud has, by its facts, and what its adapter was seen to keep.

    pytest tests/clouds/test_conformance.py --junitxml=build/sim.xml
    python tools/clouds_table.py build/sim.xml …

takes the results of those runs into docs/clouds.json, each cloud's in place of its former ones, and writes both tables
anew. Without arguments it only writes them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from flatyard.clouds import table
from flatyard.clouds.conformance import MAY_SKIP, NAMES
from flatyard.clouds.facts import CloudFacts, Idempotency
from flatyard.model.traits import NodeNameRule, StashScheme

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, KEPT = DOCS / "clouds.md", DOCS / "clouds.json"
COLUMNS = ("sim", "local", "azure", "aws", "openstack")
REAL = ("azure", "aws", "gcp", "openstack", "vsphere", "local")
PASSED, FAILED = "passed", "failed"

Outcomes = dict[str, dict[str, str]]
"""Cloud → check → `passed`, `failed`, or why it was left out."""

_IDEMPOTENCY = {
    Idempotency.CLIENT_TOKEN: "a client token",
    Idempotency.PUT_BY_NAME: "PUT of a named resource",
    Idempotency.REQUEST_ID: "a request id",
    Idempotency.PORT: "a port made beforehand",
    Idempotency.UNIQUE_NAME: "a name that is there once",
}
_STASH = {
    StashScheme.NONE: "in the user data",
    StashScheme.HTTPS: "signed URL",
    StashScheme.S3: "S3, by the machine's role or a signed URL",
    StashScheme.GS: "Cloud Storage, by the machine's account",
}


def main(results: Sequence[str]) -> int:
    """Take in the results, and write the page."""
    kept = load()
    for path in results:
        kept |= read(Path(path))
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(PAGE.read_text(), kept))
    for cloud in COLUMNS:
        print(f"{cloud}: {summary(kept.get(cloud, {}))}")
    return 0


def load() -> Outcomes:
    """What is known of the clouds so far."""
    kept: Outcomes = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return kept


# ---- what the tests leave


def read(path: Path) -> Outcomes:
    """The outcomes in one file of pytest's --junitxml, by cloud."""
    found: dict[str, dict[str, list[str]]] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        cloud = cloud_of(case.get("classname", ""))
        check = re.search(r"\[(?:\w+-)*(\w+)\]$", case.get("name", ""))
        if cloud and check and check[1] in NAMES:
            found.setdefault(cloud, {}).setdefault(check[1], []).append(outcome(case))
    return {
        cloud: {name: folded(outcomes[name]) for name in NAMES if name in outcomes}
        for cloud, outcomes in found.items()
    }


def cloud_of(module: str) -> str:
    """Whose tests a module has: those of emulators/aws are of aws, the twins' are right in clouds/."""
    where = module.split(".")
    if not where[-1].startswith("test_conformance"):  # a cloud may have the suite in several files
        return ""
    return "sim" if where[-2] == "clouds" else where[-2]


def outcome(case: ElementTree.Element) -> str:
    """What became of one check."""
    if case.find("failure") is not None or case.find("error") is not None:
        return FAILED
    skipped = case.find("skipped")
    return PASSED if skipped is None else skipped.get("message", "")


def folded(outcomes: Iterable[str]) -> str:
    """One outcome for several twins: a failure anywhere is one; where some could not show it, the reason stays."""
    seen = list(outcomes)
    reasons = [one for one in seen if one not in (PASSED, FAILED)]
    if FAILED in seen:
        return FAILED
    why = "; ".join(dict.fromkeys(reasons))
    if len(reasons) == len(seen):
        return why
    return f"{PASSED} on {len(seen) - len(reasons)} of {len(seen)} twins: {why}" if why else PASSED


# ---- the page


def page(text: str, kept: Outcomes) -> str:
    """The page with its tables made anew."""
    for name, lines in (("clouds", capabilities()), ("checks", checks(kept))):
        begin, end = f"<!-- table: {name} -->\n", f"<!-- end of table: {name} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = "".join((before, begin, *(f"{line}\n" for line in lines), end, after))
    return text


def checks(kept: Outcomes) -> list[str]:
    """A row for each check, and why some were left out."""
    notes: dict[str, int] = {}
    rows = [row("check", *COLUMNS), row("---", *("---" for _ in COLUMNS))]
    for name in NAMES:
        cells = [cell(kept.get(cloud, {}).get(name, ""), notes) for cloud in COLUMNS]
        rows.append(row(f"`{name}`", *cells))
    rows.append(row("**together**", *(summary(kept.get(cloud, {})) for cloud in COLUMNS)))
    return [*rows, "", *(f"{number}. {why}" for why, number in notes.items())]


def cell(found: str, notes: dict[str, int]) -> str:
    if found in ("", PASSED, FAILED):
        return found or "not run"
    sign = PASSED if has_passed(found) else "–"
    return f"{sign} ({notes.setdefault(found, len(notes) + 1)})"


def has_passed(found: str) -> bool:
    """Also where only some of the twins could show it."""
    return found == PASSED or found.startswith(f"{PASSED} on ")


def summary(outcomes: Mapping[str, str]) -> str:
    """How many checks passed, were left out, failed."""
    if not outcomes:
        return "not run"
    passed = sum(map(has_passed, outcomes.values()))
    failed = sum(one == FAILED for one in outcomes.values())
    left = len(outcomes) - passed - failed
    return (
        f"{passed} passed" + (f", {left} left out" if left else "") + (f", {failed} failed" if failed else "")
    )


def capabilities() -> list[str]:
    """A row for each thing that clouds differ in."""
    clouds = [table.facts(name) for name in REAL]
    lines: list[tuple[str, list[str]]] = [
        ("user data, at most", [user_data(facts) for facts in clouds]),
        ("first-boot secrets", [_STASH[facts.stash.scheme] for facts in clouds]),
        ("made once by", [_IDEMPOTENCY[facts.behaviour.idempotency] for facts in clouds]),
        ("node's name", [node_name(facts) for facts in clouds]),
        ("providerID", [f"`{facts.provider_id}`" for facts in clouds]),
        (
            "machine's name, at most",
            [f"{min(63, facts.instance_name.longest)} characters" for facts in clouds],
        ),
        (
            "tags, at most",
            [f"{facts.tags.count} of {facts.tags.value_longest} characters" for facts in clouds],
        ),
        ("networks are made", [yes(facts.networks) for facts in clouds]),
        ("load balancer", [yes(facts.load_balancer) for facts in clouds]),
        ("a backend reaches itself through it", [yes(facts.hairpin) for facts in clouds]),
        ("Flatcar images", [images(facts) for facts in clouds]),
        ("architectures", [", ".join(facts.images.arches) for facts in clouds]),
        ("evidence of a failed boot", ["console" if f.console else "guestinfo" for f in clouds]),
        ("etcd's own disk", [f"`{f.etcd_device}`" if f.etcd_device else "none" for f in clouds]),
        ("lists may lag, seconds", [f"{facts.behaviour.list_lag_bound:g}" for facts in clouds]),
        ("a page of its list", [str(facts.behaviour.page) for facts in clouds]),
        ("calls a second", [f"{facts.behaviour.calls_per_second:g}" for facts in clouds]),
    ]
    head = [row("", *(facts.title for facts in clouds)), row("---", *("---" for _ in clouds))]
    return [*head, *(row(name, *cells) for name, cells in lines)]


def user_data(facts: CloudFacts) -> str:
    rule = facts.user_data
    return f"{rule.limit:,} bytes" + (" of base64" if rule.after_encoding else "")


def node_name(facts: CloudFacts) -> str:
    return "the private DNS name" if facts.node_name is NodeNameRule.PRIVATE_DNS else "the machine's"


def images(facts: CloudFacts) -> str:
    if facts.name == "local":
        return "yours, or a stand-in"
    return "published" if facts.images.provided else "imported"


def yes(value: bool) -> str:
    return "yes" if value else "no"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def excess(kept: Outcomes) -> list[str]:
    """Clouds that leave out more than a tenth."""
    left = {cloud: [one for one in found.values() if not has_passed(one)] for cloud, found in kept.items()}
    return [cloud for cloud, reasons in left.items() if len(reasons) > MAY_SKIP]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
