"""Buckets and objects of the simulated provider, and the signed URLs that machines fetch them by."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

from flatyard.base.world import rfc3339
from flatyard.clouds.facts import Trouble
from flatyard.clouds.sim.account import Account
from flatyard.clouds.sim.rows import BucketRow, ObjectRow

_BLOBS = "cloud/blob/"
_SECRET = "cloud/signing-key"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP GET of an object brings."""

    status: int
    body: bytes = b""


class Objects:
    """The object store. A URL is good until it expires, its object is deleted, or a byte of it is changed."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._blobs = {key[len(_BLOBS) :]: value for key, value in account.disk.items(_BLOBS)}
        self._secret = next((value for _, value in account.disk.items(_SECRET)), b"")
        if not self._secret:
            self._secret = account.world.random_bytes(16)
            account.disk.put(_SECRET, self._secret)
        self._urls = {self._url(row.bucket, row.name): row.id for row in account.objects}
        form = re.escape(self._url("{bucket}", "{key}"))
        self._ours = re.compile(form.replace(r"\{bucket\}", "[^/]+").replace(r"\{key\}", ".*"))

    def create_bucket(self, name: str, tags: dict[str, str]) -> BucketRow:
        """Make the bucket; making one's own again changes nothing."""
        account = self._account
        known = account.buckets.get(name)
        if known:
            return known
        row = BucketRow(id=name, seq=account.next_seq(), name=name, created=account.created(), tags=tags)
        return account.buckets.put(row)

    def delete_bucket(self, name: str) -> None:
        """Delete an empty bucket; raises Refused when it holds objects or does not exist."""
        account = self._account
        if account.buckets.get(name) is None:
            raise account.refuse(Trouble.NOT_FOUND, name=name)
        if self.keys(name):
            raise account.refuse(Trouble.IN_USE, name=name)
        account.buckets.remove(name)

    def keys(self, bucket: str) -> tuple[str, ...]:
        """The keys in a bucket that have not expired."""
        found = (row for row in self._account.objects if row.bucket == bucket)
        return tuple(row.name for row in found if not self._drop_expired(row))

    def put(self, bucket: str, key: str, blob: bytes, ttl: float) -> ObjectRow:
        """Store an object that ends by itself after `ttl` seconds."""
        account = self._account
        if account.buckets.get(bucket) is None:
            raise account.refuse(Trouble.NOT_FOUND, name=bucket)
        row_id = f"{bucket}/{key}"
        self._blobs[row_id] = blob
        self._urls[self._url(bucket, key)] = row_id
        account.disk.put(_BLOBS + row_id, blob)
        return account.objects.put(
            ObjectRow(
                id=row_id,
                seq=account.next_seq(),
                name=key,
                created=account.created(),
                bucket=bucket,
                size=len(blob),
                expires=account.later(ttl),
            )
        )

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; a missing one is fine, as in S3."""
        row_id = f"{bucket}/{key}"
        self._account.objects.remove(row_id)
        self._blobs.pop(row_id, None)
        self._urls.pop(self._url(bucket, key), None)
        self._account.disk.delete(_BLOBS + row_id)

    def sign(self, bucket: str, key: str, ttl: float) -> str:
        """A URL that fetches the object for `ttl` seconds; a computation of the client, not a call."""
        expires = rfc3339(datetime.fromtimestamp(self._account.later(ttl), UTC))
        url = self._url(bucket, key)
        signature = self._signature(url, expires)
        return f"{url}?{self._account.facts.stash.signature.format(expires=expires, signature=signature)}"

    def fetch(self, url: str) -> Answer | None:
        """GET one of this store's URLs; None for any other address. 403 also for what is not there, as in
        S3.
        """
        plain = urlsplit(url)._replace(query="").geturl()
        row = self._account.objects.get(self._urls.get(plain, ""))
        if row is None:
            return Answer(403) if self._ours.fullmatch(plain) else None
        if not self._signed(url, plain) or self._drop_expired(row):
            return Answer(403)
        return Answer(200, self._blobs[row.id])

    def _url(self, bucket: str, key: str) -> str:
        persona = self._account.persona
        words = {"bucket": bucket, "key": key, "region": persona.region.name, "account": persona.account}
        return self._account.facts.stash.url.format(**words)

    def _signed(self, url: str, plain: str) -> bool:
        values = [value for _, value in parse_qsl(urlsplit(url).query)]
        signature = next(reversed(values), "")
        for expires in values[:-1]:
            if signature == self._signature(plain, expires):
                return not self._past(expires)
        return False

    def _past(self, expires: str) -> bool:
        return self._account.world.age(datetime.fromisoformat(expires)) >= 0

    def _signature(self, url: str, expires: str) -> str:
        return hashlib.sha256(self._secret + f"{url} {expires}".encode()).hexdigest()[:40]

    def _drop_expired(self, row: ObjectRow) -> bool:
        if self._account.left(row.expires) > 0:
            return False
        self.delete(row.bucket, row.name)
        return True
