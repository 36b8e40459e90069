use reindex_driver::runs::{HapiJob, Save, SetAside, Wish};
use stoker_proto::reindex::v1::{RunProgress, RunSpec, RunState};
use stoker_shared::store::columns::timestamp;

use crate::world::{LEASE, World, aside, is_lost, save, spec};

async fn progress(world: &World, run_id: i64) -> RunProgress {
    world.runs.run(run_id).await.unwrap().progress.unwrap()
}

pub(crate) async fn whoever_takes_the_run_next_goes_on_where_it_was(world: &World) {
    let taken = world.driven().await;
    assert_eq!(taken.position.frontier, None);
    assert!(taken.waiting.is_empty());
    let run_id = taken.lease.run_id;
    let waits = aside(world, -4, false);
    let saved = Save {
        set_aside: vec![aside(world, 30, true), waits.clone()],
        ..save(90, &[(41, 50), (77, i64::MAX)])
    };
    world.runs.save(&taken.lease, &saved).await.unwrap();
    assert_eq!(progress(world, run_id).await.checkpoint, Some(40));

    world.clock.advance(LEASE);
    let next = world.take().await.unwrap();
    assert_eq!(next.position, saved.position);
    assert_eq!(next.waiting, [waits]);
    let shown = next.run.progress.unwrap();
    assert_eq!((shown.reindexed, shown.gone), (40, 3));
    assert_eq!((shown.requests, shown.failed_requests), (7, 1));
    assert_eq!((shown.failed, shown.waiting), (1, 1));

    let all = save(95, &[]);
    world.runs.save(&next.lease, &all).await.unwrap();
    assert_eq!(progress(world, run_id).await.checkpoint, Some(95));
}

pub(crate) async fn what_is_set_aside_is_counted_once(world: &World) {
    let taken = world.driven().await;
    let (run_id, lease) = (taken.lease.run_id, &taken.lease);
    let counted = async |set_aside: Vec<SetAside>, settled: &[i64]| {
        let save = Save {
            set_aside,
            settled: settled.to_vec(),
            ..save(9, &[])
        };
        world.runs.save(lease, &save).await.unwrap();
        let progress = progress(world, run_id).await;
        (progress.failed, progress.waiting)
    };
    let waits = |id| aside(world, id, false);
    let fails = |id| aside(world, id, true);
    assert_eq!(
        counted(vec![waits(1), waits(2), fails(3)], &[]).await,
        (1, 2)
    );
    assert_eq!(counted(vec![waits(1), fails(3)], &[]).await, (1, 2));
    assert_eq!(counted(vec![fails(2)], &[1, 8]).await, (2, 0));
    assert_eq!(counted(Vec::new(), &[1, 8]).await, (2, 0));
    assert_eq!(counted(vec![waits(4)], &[]).await, (2, 1));
    let failures = world.runs.failures(run_id, 0, 10).await.unwrap();
    let ids: Vec<i64> = failures.iter().map(|failure| failure.index_id).collect();
    assert_eq!(ids, [2, 3]);
    let first = failures.first().unwrap();
    assert_eq!((first.http_status, first.attempts), (500, 2));
    assert_eq!(first.reason, "no 2");
    assert_eq!(first.time, Some(timestamp(world.now().naive_utc())));

    let forced = RunSpec {
        force: true,
        ..spec()
    };
    let other = world.start(&forced).await;
    let none = world.runs.failures(other, 0, 9).await.unwrap();
    assert!(none.is_empty());
}

pub(crate) async fn a_lost_save_leaves_no_trace(world: &World) {
    let lost = world.driven().await;
    world.clock.advance(LEASE);
    let next = world.take().await.unwrap();
    let before = progress(world, next.lease.run_id).await;
    let late = Save {
        set_aside: vec![aside(world, 1, true), aside(world, 2, false)],
        settled: vec![3],
        ..save(50, &[])
    };
    assert!(is_lost(&world.runs.save(&lost.lease, &late).await));
    assert_eq!(progress(world, next.lease.run_id).await, before);
    let failures = world.runs.failures(next.lease.run_id, 0, 9).await;
    assert!(failures.unwrap().is_empty());
}

pub(crate) async fn many_failures_come_in_pages(world: &World) {
    const MANY: i64 = 25_000;
    const PAGE: u32 = 1000;
    let taken = world.driven().await;
    let run_id = taken.lease.run_id;
    let save = Save {
        // Every fifth waits.
        set_aside: (1..=MANY).map(|id| aside(world, id, id % 5 > 0)).collect(),
        ..save(MANY, &[])
    };
    world.runs.save(&taken.lease, &save).await.unwrap();
    let counts = progress(world, run_id).await;
    assert_eq!((counts.failed, counts.waiting), (20_000, 5000));

    let (mut ids, mut pages, mut after) = (Vec::new(), 0, 0);
    loop {
        let page = world.runs.failures(run_id, after, PAGE).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.index_id;
        pages += 1;
        ids.extend(page.iter().map(|failure| failure.index_id));
    }
    assert_eq!(pages, 20);
    let expected: Vec<i64> = (1..=MANY).filter(|id| id % 5 > 0).collect();
    assert_eq!(ids, expected);
    world.runs.release(&taken.lease).await.unwrap();
    let waiting = world.take().await.unwrap().waiting;
    assert_eq!(waiting.len(), 5000);
    assert!(waiting.iter().all(|resource| !resource.failed));
}

pub(crate) async fn a_job_of_hapi_is_remembered(world: &World) {
    let taken = world.driven().await;
    assert_eq!(taken.job, HapiJob::default());
    let run_id = taken.lease.run_id;
    let asked = HapiJob {
        asked: Some(world.now()),
        there_before: vec!["cd-34".to_owned()],
        ..HapiJob::default()
    };
    let state = world.runs.save_job(&taken.lease, &asked).await.unwrap();
    assert_eq!(state, RunState::Running);
    world.clock.advance(LEASE);
    let next = world.take().await.unwrap();
    assert_eq!(next.job, asked, "it may have been asked for");
    let known = HapiJob {
        job_id: "ab-12".to_owned(),
        job_state: "IN_PROGRESS".to_owned(),
        reindexed: Some(600),
        there_before: Vec::new(),
        ..asked
    };
    world.runs.save_job(&next.lease, &known).await.unwrap();
    let shown = progress(world, run_id).await;
    assert_eq!((shown.job_id.as_str(), shown.reindexed), ("ab-12", 600));
    assert_eq!(shown.job_state, "IN_PROGRESS");
    let untold = HapiJob {
        reindexed: None,
        ..known.clone()
    };
    world.runs.save_job(&next.lease, &untold).await.unwrap();
    world.runs.release(&next.lease).await.unwrap();
    assert_eq!(world.take().await.unwrap().job, known);
}

pub(crate) async fn a_job_that_ended_in_vain_is_forgotten_by_a_run_that_goes_on(world: &World) {
    for (job_id, job_state, is_kept) in [
        ("", "", false),
        ("ab-12", "FAILED", false),
        ("ab-12", "CANCELLED", false),
        ("ab-12", "", true),
        ("ab-12", "IN_PROGRESS", true),
    ] {
        for by_start in [false, true] {
            let taken = world.driven().await;
            let run_id = taken.lease.run_id;
            let job = HapiJob {
                asked: Some(world.now()),
                job_id: job_id.to_owned(),
                job_state: job_state.to_owned(),
                ..HapiJob::default()
            };
            world.runs.save_job(&taken.lease, &job).await.unwrap();
            world.clock.advance(LEASE);
            let next = world.take().await.unwrap();
            assert_eq!(next.job, job, "nobody has decided anything");
            let stop = world.runs.finish(&next.lease, RunState::Stopped, "?");
            stop.await.unwrap();
            if by_start {
                assert!(world.runs.start(&spec()).await.unwrap().1);
            } else {
                world.runs.steer(run_id, Wish::Resume).await.unwrap();
            }
            let again = world.take().await.unwrap();
            let expected = if is_kept { job } else { HapiJob::default() };
            assert_eq!(again.job, expected, "{job_id} {job_state}");
            world.runs.steer(run_id, Wish::Cancel).await.unwrap();
        }
    }
}

pub(crate) async fn texts_that_no_database_takes_are_kept_all_the_same(world: &World) {
    let taken = world.driven().await;
    let failed = SetAside {
        reason: "a\0b".to_owned(),
        ..aside(world, 1, true)
    };
    let save = Save {
        set_aside: vec![failed],
        ..save(1, &[])
    };
    world.runs.save(&taken.lease, &save).await.unwrap();
    let failures = world.runs.failures(taken.lease.run_id, 0, 1).await.unwrap();
    assert_eq!(failures.first().unwrap().reason, "a\u{fffd}b");
    let stop = world.runs.finish(&taken.lease, RunState::Stopped, "c\0");
    stop.await.unwrap();
    let run = world.runs.run(taken.lease.run_id).await.unwrap();
    assert_eq!(run.reason, "c\u{fffd}");
}
