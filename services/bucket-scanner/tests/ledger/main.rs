//! What every ledger must do, run against each: a SQLite file, SQLite in memory, PostgreSQL.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails where it stands"
)]

mod adopted;
mod adopting;
mod begun;
mod cancelling;
mod database;
mod errors;
mod jobs;
mod keeping;
mod killed;
mod look;
mod model;
mod objects;
mod opening;
mod options;
mod outcomes;
mod places;
mod postgres;
mod race;
mod ranges;
mod recycling;
mod taken;
mod upgrade;
mod waves;
mod work;
mod world;

macro_rules! conformance {
    ($($module:ident::$name:ident,)*) => {
        mod on_sqlite_file {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                crate::$module::$name(crate::world::World::sqlite_file().await).await;
            })*
        }
        mod on_sqlite_memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                crate::$module::$name(crate::world::World::sqlite_memory().await).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                crate::$module::$name(crate::world::World::postgres().await).await;
            })*
        }
    };
}

/// For tests that look into the tables, which nobody else can do in memory.
macro_rules! looked_into {
    ($($module:ident::$name:ident,)*) => {
        mod in_sqlite_file {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                crate::$module::$name(crate::world::World::sqlite_file().await).await;
            })*
        }
        mod in_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                crate::$module::$name(crate::world::World::postgres().await).await;
            })*
        }
    };
}

looked_into! {
    look::a_load_says_how_it_ended,
    look::silent_workers_are_shown_as_stopped,
    look::a_unit_of_a_load_that_counts_no_more_is_not_leased,
    race::everybody_at_once_breaks_nothing,
}

conformance! {
    jobs::a_job_goes_from_scanning_to_done,
    jobs::whoever_ends_a_job_is_told,
    jobs::a_second_load_finds_nothing_to_do,
    jobs::reload_loads_all_again,
    jobs::a_running_job_is_joined,
    jobs::a_start_during_a_scan_asks_for_another,
    jobs::another_target_is_another_job,
    jobs::a_cancelled_job_stops_and_can_be_taken_up,
    jobs::a_failed_listing_fails_the_job_and_keeps_what_was_found,
    jobs::an_unfinished_reload_starts_anew,
    jobs::unknown_jobs_are_told,
    jobs::sources_show_their_last_scan,
    keeping::a_configured_load_tells_each_run_that_it_begins_once,
    keeping::a_configured_load_leaves_a_cancelled_job_alone,
    keeping::a_configured_load_leaves_parked_units_parked,
    keeping::a_listing_may_take_longer_than_the_pause_between_two,
    keeping::a_listing_tells_nothing_of_jobs_it_is_not_for,
    keeping::a_job_that_is_over_keeps_its_numbers,
    keeping::a_changed_object_is_new_for_every_running_job,
    keeping::a_unit_that_gets_on_is_never_given_up,
    keeping::a_start_gives_all_attempts_anew,
    objects::odd_keys_come_back_as_they_were,
    objects::a_changed_object_gets_the_next_version,
    objects::a_page_listed_again_changes_nothing,
    objects::empty_objects_are_known_but_not_loaded,
    objects::an_object_emptied_ends_the_wait_for_it,
    objects::objects_that_vanished_are_not_loaded_again,
    objects::a_full_page_is_registered,
    objects::a_source_has_one_scanner_at_a_time,
    objects::a_scanner_takes_only_what_it_can_read,
    work::leases_go_to_one_worker_each,
    work::an_expired_lease_is_lost_only_once_taken,
    waves::who_takes_only_expired_ones_gets_no_others,
    work::a_unit_still_held_is_not_offered_again,
    work::a_unit_held_to_the_last_attempt_is_not_given_up,
    work::renewal_keeps_a_lease,
    work::a_unit_handed_back_is_open_at_once,
    work::a_unit_whose_server_is_away_waits_and_keeps_its_attempts,
    work::retries_wait_longer_each_time_and_end,
    work::a_unit_that_silences_workers_is_parked,
    work::a_parked_unit_ends_the_job,
    work::units_go_only_where_they_can_be_read,
    work::a_worker_may_work_for_named_jobs_only,
    work::a_small_job_is_not_held_up,
    work::silent_workers_are_known,
    work::an_unknown_worker_is_told_to_register,
    outcomes::a_commit_keeps_everything,
    outcomes::long_names_are_cut,
    outcomes::a_repeated_commit_changes_nothing,
    outcomes::a_lost_lease_commits_nothing,
    outcomes::contradictory_commits_are_refused,
    outcomes::done_ranges_reach_the_next_worker,
    outcomes::the_last_unit_ends_load_and_job,
    outcomes::many_units_end_at_once,
    outcomes::of_commits_at_once_each_is_answered_for_itself,
    outcomes::commits_of_one_unit_at_once_add_up,
    outcomes::a_caller_that_goes_away_harms_nobody,
    errors::errors_are_listed_in_order,
    errors::what_cannot_be_read_counts_as_parked,
    errors::quarantine_comes_back_whole,
    errors::a_retry_takes_up_what_failed,
    errors::a_retry_waits_for_units_at_work,
    errors::errors_of_an_earlier_load_are_gone,
    taken::what_was_taken_is_struck_once,
    taken::what_is_of_another_ledger_is_not_struck,
    taken::what_was_taken_may_be_struck_while_the_rest_is_loaded,
    options::a_job_takes_only_its_file_types,
    options::what_no_job_takes_is_ignored_unless_it_is_known,
    options::what_is_known_is_loaded_without_a_listing,
    options::many_known_objects_are_planned_in_parts,
    options::jobs_with_and_without_a_listing_share_a_source,
    options::options_are_those_of_the_latest_start,
    places::one_source_at_most_is_written_to_a_place,
    places::a_source_that_nothing_was_read_from_is_in_nobodys_way,
    recycling::an_object_is_loaded_again_after_its_time,
    recycling::other_jobs_do_not_load_again,
    recycling::recycling_ends_with_its_job,
    recycling::many_objects_are_recycled_in_parts,
    waves::waves_come_one_after_the_other,
    waves::only_the_first_wave_is_loaded_while_the_source_is_listed,
    waves::what_is_set_aside_holds_nothing_up,
    waves::a_wave_that_no_unit_ends_is_told,
    waves::an_unordered_job_has_no_waves,
    waves::a_worker_takes_only_types_it_has_room_for,
    waves::a_worker_takes_only_places_it_names,
    ranges::a_large_object_is_shared,
    ranges::what_cannot_be_read_from_its_middle_stays_whole,
    ranges::frames_are_looked_for_once_in_a_version,
    ranges::a_load_ends_with_its_last_unit,
    ranges::places_count_over_the_whole_object,
    ranges::errors_of_a_shared_object_come_in_its_order,
    ranges::a_retry_opens_only_units_with_errors,
    ranges::a_changed_object_ends_all_its_units,
    begun::what_was_begun_is_told_once,
    begun::what_is_done_was_not_sent_twice,
    begun::what_was_repeated_is_no_failure,
}
