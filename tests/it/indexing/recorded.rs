//! Messages recorded from a real server: every table must come out as recorded, whatever happens on the way.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use stoker_tests::fhir_database::{SchemaType, assert_same, parameter_rows};
use stoker_tests::kafka;
use stoker_tests::parts;
use stoker_tests::remote_index::{Captured, Message};

use tokio::sync::MutexGuard;

use super::scene::Scene;

/// A recorded set, the database before it, and its topic.
struct Recorded {
    scene: Scene,
    captured: Captured,
    messages: Vec<Message>,
    _turn: MutexGuard<'static, ()>,
}

impl Recorded {
    async fn of(captured: Captured, schema_type: SchemaType) -> Self {
        // Who waits for its turn keeps the broker alive.
        let kafka = kafka::shared().await.unwrap();
        let turn = parts::turn().await;
        let scene = Scene::on(kafka, schema_type).await;
        captured.load_before(&scene.database).await.unwrap();
        Self {
            scene,
            messages: captured.messages().unwrap(),
            captured,
            _turn: turn,
        }
    }

    async fn updates() -> Self {
        Self::of(Captured::updates().unwrap(), SchemaType::Plain).await
    }

    async fn send_all(&self) {
        self.scene.send(&self.messages).await;
    }

    /// The messages twice, one play behind the other, in so many parts.
    fn parts_of_two_plays(&self, parts: usize) -> Vec<Vec<Message>> {
        let twice: Vec<Message> = [&self.messages[..], &self.messages].concat();
        let size = twice.len().div_ceil(parts);
        twice.chunks(size).map(<[Message]>::to_vec).collect()
    }

    /// Waits until all is committed, and compares every table.
    async fn compare(self) {
        self.scene.until_done().await;
        let found = parameter_rows(&self.scene.database).await.unwrap();
        assert_same(&self.captured.expected().unwrap(), &found);
        assert_eq!(self.scene.dead_letters().await, []);
        self.scene.end().await;
    }
}

/// Its seed is shown when the test fails, to play it again.
#[expect(clippy::print_stdout, reason = "shown only of a test that has failed")]
fn chance() -> StdRng {
    let seed = rand::rng().random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

fn batch_of(messages: usize) -> String {
    format!("index.batch_messages={messages}")
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_end_as_recorded() {
    let recorded = Recorded::updates().await;
    recorded.send_all().await;
    let _indexer = recorded.scene.indexer(&[]);
    recorded.compare().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_versions_end_as_recorded() {
    let recorded = Recorded::of(Captured::bulk().unwrap(), SchemaType::Plain).await;
    recorded.send_all().await;
    let _indexer = recorded.scene.indexer(&["topic.consumers=2"]);
    recorded.compare().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_end_as_recorded_in_a_distributed_schema() {
    let captured = Captured::updates().unwrap();
    let recorded = Recorded::of(captured, SchemaType::Distributed).await;
    recorded.send_all().await;
    let _indexer = recorded
        .scene
        .indexer(&["database.schema_type=distributed"]);
    recorded.compare().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_plays_in_batches_of_any_size_end_as_one() {
    let recorded = Recorded::updates().await;
    let mut chance = chance();
    for part in recorded.parts_of_two_plays(6) {
        let size = 10_f64.powf(chance.random_range(1.0..3.6));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "10 to 4000"
        )]
        let indexer = recorded
            .scene
            .indexer(&[&batch_of(size as usize), "topic.consumers=2"]);
        recorded.scene.send(&part).await;
        recorded.scene.until_done().await;
        assert_eq!(indexer.terminate().await.unwrap(), Some(0));
    }
    recorded.compare().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_plays_with_twenty_kills_end_as_one() {
    let recorded = Recorded::updates().await;
    let mut chance = chance();
    let size = batch_of(chance.random_range(50..1000));
    let settings = [&size, "topic.member=one", "topic.consumers=2"];
    let mut indexer = recorded.scene.indexer(&settings);
    for part in recorded.parts_of_two_plays(20) {
        recorded.scene.send(&part).await;
        let moment = Duration::from_millis(chance.random_range(0..900));
        tokio::time::sleep(moment).await;
        indexer.kill().unwrap();
        indexer.start_again().unwrap();
    }
    recorded.compare().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_plays_with_a_rebalance_every_second_end_as_one() {
    let recorded = Recorded::updates().await;
    let size = batch_of(chance().random_range(50..500));
    let _stays = recorded.scene.indexer(&[&size]);
    for part in recorded.parts_of_two_plays(10) {
        let comes = recorded.scene.indexer(&[&size]);
        recorded.scene.send(&part).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(comes.terminate().await.unwrap(), Some(0));
    }
    recorded.compare().await;
}

/// One of two processes is killed and does not come back: the other takes over.
#[tokio::test(flavor = "multi_thread")]
async fn two_plays_by_two_processes_of_which_one_dies_end_as_one() {
    let recorded = Recorded::updates().await;
    let _stays = recorded.scene.indexer(&[]);
    let mut dies = recorded.scene.indexer(&[&batch_of(100)]);
    for (number, part) in recorded.parts_of_two_plays(4).into_iter().enumerate() {
        recorded.scene.send(&part).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if number == 1 {
            dies.kill().unwrap();
        }
    }
    recorded.compare().await;
}
