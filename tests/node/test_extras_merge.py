"""What users lay over our config reaches the machine as they wrote it."""

from __future__ import annotations

from flatyard.ignition import config, file, remote_file
from flatyard.ignition.merge import merge
from flatyard.node.render import _standing_alone


def test_a_plain_file_over_a_compressed_one_is_not_read_as_compressed():
    """Found by rehearsing the sysext guide's own Butane: `gzip: invalid header` at the first boot."""
    ours = config(files=[file("/etc/sysupdate.d/noop.conf", "x" * 4000)])
    assert ours.storage.files[0].contents.compression == "gzip"
    theirs = config(files=[remote_file("/etc/sysupdate.d/noop.conf", "https://example.com/noop.conf")])
    (made,) = merge(ours, _standing_alone(theirs)).storage.files
    assert (made.contents.source, made.contents.compression) == ("https://example.com/noop.conf", "")
