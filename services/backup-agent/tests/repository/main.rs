//! What every repository must do, run against each: a folder, and a prefix of a real S3 service.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails where it stands"
)]

mod adoption;
mod basics;
mod damage;
mod full;
mod kills;
mod minio;
mod proxy;
mod rivals;
mod s3_faults;
mod world;

macro_rules! conformance {
    ($($module:ident::$name:ident,)*) => {
        mod in_a_folder {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                if crate::kills::started_as_child().await {
                    return;
                }
                let world = crate::world::World::folder();
                crate::$module::$name(&world, concat!("in_a_folder::", stringify!($name))).await;
            })*
        }
        mod on_s3 {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                if crate::kills::started_as_child().await {
                    return;
                }
                let world = crate::world::World::s3().await;
                crate::$module::$name(&world, concat!("on_s3::", stringify!($name))).await;
            })*
        }
    };
}

conformance! {
    basics::a_backup_is_written_read_amended_and_deleted,
    basics::what_is_not_committed_is_no_backup,
    basics::a_manifest_must_say_what_was_written,
    basics::what_is_being_written_is_left_alone,
    basics::a_backup_that_cannot_be_used_can_be_deleted,
    adoption::what_was_put_there_by_hand_becomes_a_backup,
    adoption::what_nobody_adopts_is_left_alone,
    adoption::of_many_adopters_one_wins,
    adoption::a_killed_adoption_leaves_the_files_as_they_were,
    damage::whatever_is_damaged_is_found,
    rivals::of_two_writers_of_a_name_one_wins,
    rivals::changes_at_once_do_not_undo_each_other,
    rivals::who_is_held_for_dead_commits_nothing,
    kills::a_killed_writer_leaves_no_backup_and_nothing_behind,
    kills::a_killed_deletion_leaves_nothing_behind,
}
