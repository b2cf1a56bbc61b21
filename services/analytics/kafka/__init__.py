"""Events by way of Kafka: into its topics, and out of them into a store."""
