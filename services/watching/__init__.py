"""System metrics: what each process of a home does and costs, window by window, in ClickHouse.

    figures    (pure) two looks at a process ► what it did between them
    collector  takes the looks and writes a row a process and window into ``system_metrics``

The sink runs the collector: it is the one that writes to ClickHouse. What the table cannot be
given is lost and logged; the promises are about records, and these are none. Where no supervisor
keeps the processes there is nothing to look at here: Prometheus scrapes them.
"""
