"""``ptp bulk``: whole collections of photos, shard by shard, resumable, on a pool of processes or on Ray Data.

``sources`` lists the photos, ``plan`` cuts them into shards and says whether a destination belongs to the same work,
``shard`` does one shard, ``formats`` writes it, ``journal`` remembers it; ``pool`` and ``ray_pool`` run shards.
"""
