"""One machine's Ignition: what makes a vanilla Flatcar image a Kubernetes node in one boot.

`render.prepare` a template per pool, `render` each machine; `layout` says what lies where and starts in which order;
`evidence` is what a machine says when its first boot fails. Nothing is handed on from here: layout and milestones are
read by programs that never render.
"""
