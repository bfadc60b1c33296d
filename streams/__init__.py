"""The Kafka shell: what consumes, answers and watches. Decisions live in `models`."""
