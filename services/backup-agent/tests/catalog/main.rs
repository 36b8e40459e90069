//! What every catalog must do, run against each: a SQLite file, SQLite in memory, PostgreSQL.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails where it stands"
)]

mod given_back;
mod held;
mod notices;
mod runs;
mod schedule;
mod shared;
mod world;

macro_rules! conformance {
    ($($module:ident::$name:ident,)*) => {
        mod on_sqlite_file {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let world = crate::world::World::sqlite_file().await;
                crate::$module::$name(&world).await;
                world.end().await;
            })*
        }
        mod on_sqlite_memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let world = crate::world::World::sqlite_memory().await;
                crate::$module::$name(&world).await;
                world.end().await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let world = crate::world::World::postgres().await;
                crate::$module::$name(&world).await;
                world.end().await;
            })*
        }
    };
}

/// For what several processes share, which nobody can in memory.
macro_rules! shared {
    ($($module:ident::$name:ident,)*) => {
        mod shared_sqlite_file {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let world = crate::world::World::sqlite_file().await;
                crate::$module::$name(&world).await;
                world.end().await;
            })*
        }
        mod shared_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let world = crate::world::World::postgres().await;
                crate::$module::$name(&world).await;
                world.end().await;
            })*
        }
    };
}

shared! {
    shared::of_many_that_begin_at_once_one_does,
    given_back::of_many_that_would_go_on_one_does,
    shared::what_is_noted_outlives_the_process,
    shared::a_lease_of_a_clock_that_was_wrong_keeps_nobody_out,
    shared::ten_thousand_backups_are_noted_in_a_minute,
    notices::of_many_that_tell_at_once_one_does,
    notices::what_is_to_be_told_outlives_the_process,
    notices::a_claim_of_the_future_is_none,
}

conformance! {
    held::what_a_repository_holds_is_what_is_known,
    held::repositories_are_apart,
    held::what_is_noted_meanwhile_stays,
    held::a_backup_is_noted_and_forgotten,
    held::proofs_are_kept_also_of_what_is_gone,
    held::texts_that_no_database_takes_are_kept_all_the_same,
    runs::one_run_of_a_kind_is_under_way,
    runs::a_run_is_shown_as_it_goes,
    runs::a_silent_agent_loses_its_run_and_changes_nothing_more,
    runs::an_expired_lease_holds_until_another_begins,
    runs::an_agent_that_has_ended_is_not_waited_for,
    runs::lost_runs_of_the_same_time_are_counted,
    runs::a_failure_says_why_and_is_over,
    runs::what_runs_write_or_read_is_told,
    runs::two_runs_write_no_backup_of_one_name,
    runs::what_was_found_bad_is_told_apart,
    runs::runs_of_agents_that_are_silent_for_long_are_swept,
    notices::a_trouble_is_told_when_it_begins_and_when_it_ends,
    notices::each_trouble_is_told_by_itself,
    notices::what_came_and_went_unheard_is_told_all_the_same,
    notices::what_lasts_is_told_again_after_a_while,
    notices::what_flickers_is_one_trouble,
    notices::what_begins_again_while_its_end_is_told_is_another_trouble,
    notices::a_notice_is_one_agents_until_its_claim_is_over,
    schedule::a_new_schedule_counts_from_now,
    schedule::what_is_over_is_not_due_again,
    schedule::what_was_lost_is_still_due,
    schedule::what_another_has_done_meanwhile_is_not_begun,
    given_back::what_is_given_back_waits_and_is_gone_on_with,
    given_back::what_comes_due_meanwhile_is_done_in_its_place,
    given_back::a_backup_that_is_there_is_not_begun_again,
    given_back::a_person_begins_anew,
    given_back::one_that_lies_elsewhere_is_not_looked_for_here,
    schedule::what_a_person_does_moves_no_schedule,
    schedule::a_clock_that_was_set_back_moves_it_back,
}
