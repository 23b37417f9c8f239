"""The page: the loop as it runs, in a browser, and the schemas for clients in any language.

live        counts and latencies by second: pure, told the time
tail        reads the topics' ends into live
figures     the numbers of the page's head, from live
history     ClickHouse's views, asked once for all browsers
feed        one frame a second to every open page (server-sent events)
labelling   hands inputs to people and takes their answers: the one part that writes
schema_api  the recorded schemas in Confluent's API form, read-only
app         the HTTP application over these
"""
