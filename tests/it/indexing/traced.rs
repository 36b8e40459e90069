//! The trace of a message: from the batch that takes it to the commit of its offset.

use rdkafka::message::{Header, OwnedHeaders};
use stoker_tests::otlp::{Collector, Received};
use stoker_tests::remote_index::publish_with;

use super::scene::{Scene, family};

/// As W3C has it: version, trace, span, sampled.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
/// In the resource's id and in the value that is indexed: as names of patients can be.
const PRIVATE: &str = "jane-doe";

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_a_trace_that_leads_to_its_messages() {
    let (scene, collector) = (Scene::plain().await, Collector::start().await.unwrap());
    let endpoint = format!("service.telemetry.otlp_endpoint={}", collector.endpoint());
    let indexer = scene.indexer(&[&endpoint, "topic.consumers=1"]);
    let stored = scene.put("Patient", PRIVATE, "hash").await;
    let other = scene.put("Patient", "other", "hash").await;
    let mut poison = family(&other, PRIVATE);
    poison.value = format!("{{{PRIVATE}");
    let traceparent = format!("00-{TRACE}-{SPAN}-01");
    let headers = OwnedHeaders::new().insert(Header {
        key: "traceparent",
        value: Some(&traceparent),
    });
    let (broker, traced) = (scene.kafka.broker(), [family(&stored, PRIVATE)]);
    publish_with(&traced, &headers, &broker, &scene.topic)
        .await
        .unwrap();
    scene.send(&[family(&other, "untraced"), poison]).await;
    scene.until_done().await;
    assert_eq!(scene.strings(&stored).await, [PRIVATE]);
    assert_eq!(indexer.terminate().await.unwrap(), Some(0));

    let spans = collector.spans();
    let batches: Vec<_> = spans
        .iter()
        .filter(|span| span.span.name == "batch")
        .collect();
    let linked: Vec<_> = batches
        .iter()
        .filter(|span| !span.links().is_empty())
        .collect();
    let [batch] = linked.as_slice() else {
        panic!("one batch has the message: {spans:#?}")
    };
    assert_eq!(batch.links(), [(TRACE.to_owned(), SPAN.to_owned())]);
    assert_eq!(batch.parent_id(), "");
    let taken: i64 = batches
        .iter()
        .filter_map(|span| span.number("messages"))
        .sum();
    let done: i64 = batches.iter().filter_map(|span| span.number("done")).sum();
    assert!(taken >= 3 && done == 3, "{batches:#?}");
    for step in ["ready", "resolve", "write", "commit"] {
        let is_step =
            |span: &&Received| span.span.name == step && span.parent_id() == batch.span_id();
        let found: Vec<_> = spans.iter().filter(is_step).collect();
        assert!(!found.is_empty(), "no {step}: {spans:#?}");
        assert!(found.iter().all(|span| span.trace_id() == batch.trace_id()));
    }
    assert!(!format!("{spans:?}").contains(PRIVATE), "{spans:#?}");
    scene.end().await;
}
