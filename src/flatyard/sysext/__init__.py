"""Kubernetes as a system extension: the bakery's layout, feeds with hashes, the supported versions, the bakery.

`layout`, `feed`, `versions` and `simulated` do no I/O, since `node` imports them. `contents` and `kubernetes_tree` say
what goes into an image, `squashfs` writes it, `squashfs_read` and `inspection` look into one; `release` downloads the
programs, `source` compiles them; `feed_folder`, `mirror` and `serve` hand images out. Nothing is handed on from here:
packing a tree needs no feed.
"""
