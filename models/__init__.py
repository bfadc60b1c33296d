"""What canarec knows: data models, learned models, decision models. Pure: no Kafka, no asyncio, no clock, no disk but `store`."""
