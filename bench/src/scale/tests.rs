use super::*;

fn workers() -> Autoscaler {
    autoscaler("loader-worker", (2, 12)).unwrap()
}

fn indexers() -> Autoscaler {
    autoscaler("remote-indexer", (2, 8)).unwrap()
}

#[test]
fn a_step_is_met_once_and_left_once() {
    let mut world = Loading::new(|now| if now == 600 { 2000.0 } else { 0.0 }, 10.0, 1e9);
    let course = run(workers(), &mut world, 2 * 3600);
    assert_eq!((course.turns, course.most), (1, 12), "{course:?}");
    assert!(course.longest_wait_s < 600, "{course:?}");
}

#[test]
fn bursts_within_the_window_do_not_make_it_flap() {
    let burst = |now: u64| if now.is_multiple_of(120) { 150.0 } else { 0.0 };
    let course = run(workers(), &mut Loading::new(burst, 10.0, 1e9), 4 * 3600);
    assert!(course.turns <= 1, "{course:?}");
    assert!(course.longest_wait_s < 60, "{course:?}");
}

#[test]
fn a_day_of_a_million_resources_is_two_workers_and_no_more() {
    // A hundred resources to a unit.
    let mut world = Loading::new(diurnal(10_000.0), 10.0, 1e9);
    let course = run(workers(), &mut world, DAY_S);
    assert_eq!((course.turns, course.most), (0, 2), "{course:?}");
}

#[test]
fn a_day_that_needs_more_at_noon_turns_seldom() {
    let mut world = Loading::new(diurnal(600_000.0), 10.0, 1e9);
    let course = run(workers(), &mut world, DAY_S);
    assert!(course.turns <= 6, "{course:?}");
    assert!(course.most > 3 && course.longest_wait_s < 60, "{course:?}");
}

#[test]
fn more_workers_than_the_server_bears_are_not_outnumbered() {
    let mut world = Loading::new(|now| if now == 600 { 3000.0 } else { 0.0 }, 10.0, 5.0);
    let course = run(workers(), &mut world, 4 * 3600);
    assert!(course.turns <= 1, "{course:?}");
    assert_eq!(course.most, 12, "{course:?}");
}

#[test]
fn a_surge_of_messages_is_worked_off() {
    // For ten minutes twice as much as two can do.
    let surge = |now: u64| {
        if (600..1200).contains(&now) {
            4000.0
        } else {
            500.0
        }
    };
    let mut world = Indexing::new(surge, 1000.0);
    let course = run(indexers(), &mut world, 3 * 3600);
    assert!(course.turns <= 1, "{course:?}");
    assert!(course.most > 2 && course.longest_wait_s < 900, "{course:?}");
}

#[test]
fn no_sample_changes_nothing() {
    let mut workers = workers();
    assert_eq!(workers.decide(0, 5, &[None, None]), 5);
    assert_eq!(workers.turns(), 0);
}

#[test]
fn a_value_near_the_target_changes_nothing() {
    let mut workers = workers();
    assert_eq!(
        workers.decide(0, 5, &[Some(5.0 * 32.0 * 1.09), Some(0.0)]),
        5
    );
    let more = workers.decide(600, 5, &[Some(5.0 * 32.0 * 1.2), Some(0.0)]);
    assert_eq!(more, 6);
}
