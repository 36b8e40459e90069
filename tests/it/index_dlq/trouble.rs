//! What stands in the way of letters.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_too_large_is_told_and_taken_once_it_may_be() {
    let scene = Scene::new().await;
    let letters = scene.config.topic.dead_letters();
    let (admin, options) = (scene.admin(), AdminOptions::new());
    let small =
        NewTopic::new(&letters, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "20000");
    admin.create_topics([&small], &options).await.unwrap()[0]
        .as_ref()
        .unwrap();
    let mut value = vec![0_u8; 50_000];
    rand::fill(&mut value[..]);
    let large = [DeadLetter {
        value: Some(&value),
        offset: 77,
        ..letter()
    }];
    let sending = DeadLetters::connect(&scene.config).unwrap();
    let error = sending.send(&large).await.unwrap_err();
    assert!(matches!(error, DeadLetterError::TooLarge { .. }), "{error}");
    let text = error.to_string();
    for told in [
        letters.as_str(),
        "partition 3, offset 77",
        "raise its max.message.bytes",
    ] {
        assert!(text.contains(told), "{text}");
    }
    let raised =
        AlterConfig::new(ResourceSpecifier::Topic(&letters)).set("max.message.bytes", "100000");
    admin.alter_configs([&raised], &options).await.unwrap()[0]
        .as_ref()
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    while let Err(error) = sending.send(&large).await {
        assert!(Instant::now() < deadline, "{error}");
    }
    assert_eq!(scene.in_letters().await[0].payload(), Some(&value[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_cannot_be_made_is_told_with_what_to_do() {
    let mut scene = Scene::new().await;
    scene.config.topic.dead_letters = Some("no name for a topic!".to_owned());
    let error = scene.send(&[letter()]).await.unwrap_err();
    assert!(matches!(error, DeadLetterError::NotMade { .. }), "{error}");
    assert!(
        error.to_string().contains("make it with 1 partition"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_wait_for_a_broker_that_is_away() {
    let own = tokio::task::spawn_blocking(Kafka::start)
        .await
        .unwrap()
        .unwrap();
    let scene = Scene::on(Arc::new(own)).await;
    let sending = DeadLetters::connect(&scene.config).unwrap();
    sending.send(&[letter()]).await.unwrap();
    scene.kafka.kill().unwrap();
    let next = DeadLetter {
        offset: 1,
        ..letter()
    };
    let waiting = tokio::spawn(async move { sending.send(&[next]).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    let kafka = Arc::clone(&scene.kafka);
    tokio::task::spawn_blocking(move || kafka.restart())
        .await
        .unwrap()
        .unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(scene.listed(&[]).await.len(), 2);
}

#[tokio::test]
async fn without_brokers_it_is_said_what_to_give() {
    let user = Stoker::new().unwrap();
    for (args, told) in [
        (vec!["list"], "give --brokers HOST:PORT"),
        (
            vec!["replay", "--brokers", "nonsense"],
            "is no broker; give host:port",
        ),
        (
            vec!["list", "--brokers", "127.0.0.1:9"],
            "check brokers and that Kafka runs",
        ),
    ] {
        let run = user
            .args([vec!["index", "dlq"], args].concat())
            .run()
            .await
            .unwrap();
        assert_eq!(run.code, 1, "{run:#?}");
        assert!(run.stderr.contains(told), "{run:#?}");
    }
}
