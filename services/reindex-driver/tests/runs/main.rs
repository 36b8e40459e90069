//! What every store of runs must do, run against each: a SQLite file, SQLite in memory, PostgreSQL.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails where it stands"
)]

mod leases;
mod progress;
mod race;
mod starting;
mod steering;
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
                crate::$module::$name(&world, concat!("shared_sqlite_file::", stringify!($name))).await;
                world.end().await;
            })*
        }
        mod shared_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let world = crate::world::World::postgres().await;
                crate::$module::$name(&world, concat!("shared_postgres::", stringify!($name))).await;
                world.end().await;
            })*
        }
    };
}

shared! {
    race::starts_at_once_start_one_run,
    race::two_processes_never_have_the_same_run,
    race::what_is_saved_outlives_the_process,
}

conformance! {
    starting::a_run_starts_and_is_shown,
    starting::starting_again_goes_on,
    starting::what_differs_is_another_run,
    starting::a_run_that_is_over_is_not_gone_on_with,
    starting::nothing_is_there_at_first,
    steering::people_have_runs_wait_go_on_and_end,
    steering::a_driver_hears_of_wishes_and_may_still_save,
    steering::what_was_cancelled_stays_so,
    steering::a_run_that_stopped_goes_on_where_it_was,
    leases::one_driver_has_a_run,
    leases::a_driver_may_want_some_runs_only,
    leases::a_silent_driver_loses_the_run_and_changes_nothing_more,
    leases::an_expired_lease_holds_until_somebody_takes_the_run,
    leases::a_run_that_is_given_back_is_taken_at_once,
    leases::a_driver_is_shown_while_it_is_there,
    progress::whoever_takes_the_run_next_goes_on_where_it_was,
    progress::what_is_set_aside_is_counted_once,
    progress::a_lost_save_leaves_no_trace,
    progress::many_failures_come_in_pages,
    progress::a_job_of_hapi_is_remembered,
    progress::a_job_that_ended_in_vain_is_forgotten_by_a_run_that_goes_on,
    progress::texts_that_no_database_takes_are_kept_all_the_same,
}
