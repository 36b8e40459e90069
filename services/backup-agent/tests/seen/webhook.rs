//! What a webhook gets, and how often.

use std::time::Duration;

use backup_agent::catalog::{Ended, Task};
use backup_agent::notify::{Notifier, NotifyConfig};
use tokio::net::TcpListener;

use crate::world::{Agent, TOKEN, Webhook, World};

const MINUTE: Duration = Duration::from_mins(1);

async fn look_and_tell(agent: &Agent) {
    agent.watch.look().await;
    agent.watch.tell().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gets_what_is_wrong_and_when_it_is_over() {
    let (world, webhook) = (World::new().await, Webhook::start(&[]).await);
    let agent = world.agent(&webhook.config()).await;
    world.fail().await;
    look_and_tell(&agent).await;
    let posted = webhook.posted();
    let [(headers, began)] = posted.as_slice() else {
        panic!("{posted:?}")
    };
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["x-team"], "platform");
    for (key, value) in [
        ("state", "began"),
        ("kind", "failed_run"),
        ("source", "fhir"),
        (
            "sentence",
            "the last backup (run 1) failed: the password is wrong",
        ),
        (
            "text",
            "backup trouble: fhir: the last backup (run 1) failed: the password is wrong",
        ),
        ("since", "2026-01-01T12:00:00Z"),
        ("time", "2026-01-01T12:00:00Z"),
        ("agent", "host:1"),
    ] {
        assert_eq!(began[key], value, "{key}");
    }
    world.run(Task::Backup, &Ended::Done).await;
    look_and_tell(&agent).await;
    world.clock.advance(MINUTE);
    look_and_tell(&agent).await;
    let posted = webhook.posted();
    let [(_, ended)] = posted.as_slice() else {
        panic!("{posted:?}")
    };
    assert_eq!(
        (&ended["state"], &ended["trouble"]),
        (&"ended".into(), &began["trouble"])
    );
    assert_ne!(ended["id"], began["id"]);
    assert_eq!(ended["ended"], "2026-01-01T12:00:00Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_agents_one_tells_and_a_restart_repeats_nothing() {
    let (world, webhook) = (World::new().await, Webhook::start(&[]).await);
    world.fail().await;
    world.keep("empty", 0).await;
    let (a, b) = (
        world.agent(&webhook.config()).await,
        world.agent(&webhook.config()).await,
    );
    for _ in 0..5 {
        tokio::join!(look_and_tell(&a), look_and_tell(&b));
    }
    let mut told = webhook.told();
    told.sort();
    assert_eq!(told, ["began empty", "began failed_run"]);
    drop((a, b));
    let restarted = world.agent(&webhook.config()).await;
    look_and_tell(&restarted).await;
    assert_eq!(webhook.told(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_is_sent_again_under_the_same_name() {
    let world = World::new().await;
    // Tried again at once; then left alone until the claim is over; then refused for good until it is mended.
    let webhook = Webhook::start(&[503, 429, 500, 502, 401]).await;
    let agent = world.agent(&webhook.config()).await;
    world.fail().await;
    look_and_tell(&agent).await;
    let mut posted = webhook.posted();
    assert_eq!(posted.len(), 3);
    look_and_tell(&agent).await;
    assert_eq!(webhook.told(), [""; 0], "its claim is not over");
    world.clock.advance(MINUTE);
    look_and_tell(&agent).await;
    posted.extend(webhook.posted());
    assert_eq!(
        posted.len(),
        5,
        "what is refused is not tried again at once"
    );
    let failed = "stoker_backup_notices_total{result=\"failed\"}";
    assert_eq!(agent.shown(failed).as_deref(), Some("2"));
    world.clock.advance(MINUTE);
    look_and_tell(&agent).await;
    posted.extend(webhook.posted());
    let ids: Vec<_> = posted.iter().map(|(_, body)| &body["id"]).collect();
    assert_eq!(ids, [ids[0]; 6]);
    let taken = "stoker_backup_notices_total{result=\"taken\"}";
    assert_eq!(agent.shown(taken).as_deref(), Some("1"));
}

/// Takes connections and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_hangs_keeps_nobody_from_looking() {
    let world = World::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = NotifyConfig {
        url: Some(
            format!("http://{}/", silent.local_addr().unwrap())
                .as_str()
                .into(),
        ),
        timeout: Duration::from_mins(10),
        ..NotifyConfig::default()
    };
    let agent = world.agent(&config).await;
    world.fail().await;
    let test = async {
        let _asked = silent.accept().await.unwrap();
        world.keep("seen", 1 << 30).await;
        agent.watch.nudge();
        let held = "stoker_backup_held{source=\"fhir\"}";
        while agent.shown(held).as_deref() != Some("1") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = agent.watch.work() => {}
        () = test => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_in_time_is_a_failure_that_names_no_secret() {
    let world = World::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("http://{address}/h1dden?token=h1dden");
    let mut config = NotifyConfig {
        url: Some(url.as_str().into()),
        token: Some(TOKEN.into()),
        timeout: Duration::from_millis(200),
        ..NotifyConfig::default()
    };
    let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    assert!(
        !shown.contains("h1dden") && !shown.contains(TOKEN),
        "{shown}"
    );
    world.fail().await;
    let agent = world.agent(&config).await;
    agent.watch.look().await;
    let none = world.catalog.claim_notice("fhir", None, MINUTE).await;
    let notice = none.unwrap().unwrap();
    let notifier = Notifier::new(&config, "host:1").unwrap().unwrap();
    let error = notifier.send(&notice, world.now()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no answer in time"), "{text}");
    drop(silent);
    config.timeout = Duration::from_secs(10);
    let notifier = Notifier::new(&config, "host:1").unwrap().unwrap();
    let error = notifier.send(&notice, world.now()).await.unwrap_err();
    let text = format!("{text} {error} {error:?} {notifier:?}");
    assert!(text.contains("cannot be reached"), "{text}");
    assert!(!text.contains("h1dden") && !text.contains(TOKEN), "{text}");
}

#[tokio::test]
async fn what_makes_no_sense_is_told_at_once() {
    let good = NotifyConfig {
        url: Some("https://chat.example.org/hook".into()),
        ..NotifyConfig::default()
    };
    assert!(Notifier::new(&good, "host:1").unwrap().is_some());
    let off = Notifier::new(&NotifyConfig::default(), "host:1");
    assert!(off.unwrap().is_none());
    for (config, expected) in [
        (
            NotifyConfig {
                url: Some("chat.example.org/hook".into()),
                ..good.clone()
            },
            "not an address of a webhook",
        ),
        (
            NotifyConfig {
                url: Some("ftp://chat.example.org".into()),
                ..good.clone()
            },
            "it begins with ftp:",
        ),
        (
            NotifyConfig {
                token_file: Some("/no/such/token".into()),
                ..good.clone()
            },
            "/no/such/token cannot be read",
        ),
        (
            NotifyConfig {
                token: Some("a\nb".into()),
                ..good.clone()
            },
            "token: cannot be sent",
        ),
        (
            NotifyConfig {
                headers: [("X Team".to_owned(), "a".into())].into(),
                ..good.clone()
            },
            "X Team cannot be sent",
        ),
        (
            NotifyConfig {
                timeout: Duration::ZERO,
                ..good
            },
            "must be more than 0s",
        ),
    ] {
        let text = Notifier::new(&config, "host:1").unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}
