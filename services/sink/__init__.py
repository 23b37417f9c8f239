"""The sink: every topic of a task, into ClickHouse, each record once.

A record's identity is its topic, partition and offset. That it lands once, whatever is replayed
and whoever dies, rests on four things:

1. **An insert is one block, so one part: whole or not at all.** A table is not partitioned, and
   a batch is far below the size at which ClickHouse would cut it.
2. **The tables know where to go on.** The sink starts at the highest offset that a table holds
   for a partition, plus one. Kafka's committed offsets are for those who look at the lag; a
   deleted consumer group changes nothing. An insert whose end the sink did not see (a lost
   connection, a restarted store) is not repeated before the table was asked what it holds.
3. **One sink at a time.** A sink that starts puts its own number into the constraint ``sink`` of
   every table, waits until no older insert is running, and only then reads the offsets. A sink
   that was frozen and goes on afterwards has its inserts refused (VIOLATED_CONSTRAINT) by the
   table itself, and ends. No clock is involved.
4. **An insert's token.** Where the HTTP client itself sends an insert again, ClickHouse drops the
   second by its deduplication token.

So a plain ``SELECT count()`` is right at every moment; that the tables are ReplacingMergeTrees
over the same identity is a belt to these braces.

What a topic's schema cannot read goes to the table ``undecodable``, as the bytes it came in, with
the reason. It is written before the good records of the same batch: the good ones decide where
to go on, so a crash in between repeats the bad ones, and their own table says which it has.

No record costs Python of its own: batches are columns from the consumer to the insert
(`schemas.arrow_columns`), and one insert is under way while the next batch is read.

Modules: ``tables`` (the columns of a table, from its Avro schema), ``rows`` (values to rows),
``database`` (tables and views made and changed), ``ownership`` (3), ``writing`` (1, 2, 4),
``reading`` (Kafka), ``sink`` (the loop).
"""
