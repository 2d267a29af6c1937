"""What makes a machine on OpenStack show as Ready in Exosphere, and lets its user in there.

Exosphere takes a server for one of its own by the server's metadata, follows its set-up by JSON lines on the
serial console, and reads a passphrase that the machine made and posted, once, to Nova's metadata service; it then
keeps it as a tag of the server. Sources: Exosphere 0a07992 (src/Helpers/Helpers.elm, ExoSetupStatus.elm,
src/Types/Server.elm, ansible/roles/passphrase) and Nova's guide on the metadata service.

The passphrase is made on the machine, so that no user data, store or command of ours ever holds it.
"""

from __future__ import annotations

from collections.abc import Mapping

from flatyard.ignition import Unit, User, unit
from flatyard.model.traits import NodeTraits
from flatyard.node import layout

USER = "exouser"
"""Exosphere's web shell and its users log in under this name."""
SERVER_METADATA: Mapping[str, str] = {
    "exoServerVersion": "6",
    "exoSetup": '{"status":"waiting","epoch":null}',
}
"""What the server's metadata must say from its creation on. Exosphere writes exoSetup anew as it changes."""
PASSWORD_URL = "http://{address}/openstack/latest/password"
"""Takes one POST; a second one is refused with 409 for as long as nobody has deleted the first."""


def exosphere_user(keys: tuple[str, ...]) -> User:
    """Exosphere's user, with the cluster's keys. Flatcar's own rule gives group sudo all rights without a password."""
    return User(name=USER, groups=("sudo", "docker"), shell="/bin/bash", ssh_authorized_keys=keys)


def exosphere_unit() -> Unit:
    """Tells Exosphere, once in the machine's life; what fails is tried again and told as an error until then."""
    text = (
        "[Unit]\nDescription=Tell Exosphere that this machine is ready, and its passphrase\n"
        "Wants=network-online.target\n"
        f"After=network-online.target {layout.METADATA_UNIT}\n"
        f"ConditionPathExists=!{layout.EXOSPHERE_STAMP}\nStartLimitIntervalSec=0\n"
        f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={layout.EXOSPHERE_SCRIPT}\n"
        f"ExecStopPost=/bin/sh -c '[ $$SERVICE_RESULT = success ]||{layout.EXOSPHERE_SCRIPT} error'\n"
        "TimeoutStartSec=10min\nRestart=on-failure\nRestartSec=60\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    return unit(layout.EXOSPHERE_UNIT, text, enabled=True)


def exosphere_script(traits: NodeTraits) -> str:
    """Makes the passphrase, sets it, posts it and reports; it may be run again after a crash anywhere in it.

    The passphrase rests in a file of root's until Exosphere's end of it is done. 25 characters of 31 are 123 bits;
    Exosphere's tag takes 54 characters, without slash and comma.
    """
    url = PASSWORD_URL.format(address=traits.metadata_address)
    return (
        _SCRIPT.replace("USER", USER)
        .replace("URL", url)
        .replace("STAMP", layout.EXOSPHERE_STAMP)
        .replace("FOLDER", layout.EXOSPHERE_STAMP.rpartition("/")[0])
        .replace("SERIAL", layout.SERIAL_CONSOLES)
    )


_SCRIPT = """\
#!/bin/sh
set -eu
umask 077
say(){
l="{\\"status\\":\\"$1\\",\\"epoch\\":$(date +%s)000}"
sleep 1
echo on>/proc/sys/kernel/printk_devkmsg||:
echo "$l">/dev/kmsg||:
for t in SERIAL;do [ ! -c $t ]||echo "$l">$t||:;done
}
if [ "${1-}" ];then say "$1";exit 0;fi
say running
f=FOLDER/exosphere.passphrase
mkdir -p FOLDER
if [ ! -s $f ];then
p=$(head -c 4096 /dev/urandom|LC_ALL=C tr -dc a-hjkmnp-z2-9|cut -c1-25|sed 's/...../&-/g;s/-$//')
[ ${#p} = 29 ]
printf %s "$p">$f.new
mv $f.new $f
fi
h=$(openssl passwd -6 -stdin<$f)
[ "$h" ]
echo "USER:$h"|chpasswd -e
c="curl -sf --noproxy * -m 10 --retry 20 --retry-delay 3 --retry-connrefused"
set -f
$c -X POST --data-binary @$f URL||[ "$($c URL)" = "$(cat $f)" ]
say complete
: >STAMP
rm -f $f
"""
"""The line comes after a second's silence, because Exosphere reads whole lines only."""
