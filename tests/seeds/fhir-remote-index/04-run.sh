java -Djava.util.logging.config.file=logging.properties \
-jar /path/to/git/FHIR/fhir-remote-index/target/fhir-remote-index-*-cli.jar \
--db-type postgresql \
--database-properties database.properties \
--kafka-properties kafka.properties \
--topic-name FHIR_REMOTE_INDEX \
--consumer-count 3 \
--instance-identifier "a-random-uuid-value"
