"""Programs that run the reconcilers without anybody at the keyboard: simulated clusters, and rehearsals.

Nothing here paints; `cli/` starts these and shows what they say.
"""
