//! The contract of `libcalico::store::Store`: one suite, run on every store.

#[path = "store_contract/bench.rs"]
mod bench;
#[path = "store_contract/concurrency.rs"]
mod concurrency;
#[path = "store_contract/deadlines.rs"]
mod deadlines;
#[path = "support/etcd.rs"]
mod etcd_server;
#[path = "store_contract/reads.rs"]
mod reads;
#[path = "store_contract/watches.rs"]
mod watches;
#[path = "store_contract/writes.rs"]
mod writes;

/// Makes a test of each case for each store.
macro_rules! suite {
    ($($group:ident: $($case:ident)+;)+) => {
        mod memory {
            $($(#[tokio::test] async fn $case() {
                crate::$group::$case(crate::bench::Bench::memory()).await;
            })+)+
        }
        #[cfg(feature = "local")]
        mod local {
            $($(#[tokio::test] async fn $case() {
                crate::$group::$case(crate::bench::Bench::local()).await;
            })+)+
        }
        mod etcd {
            $($(#[tokio::test] async fn $case() {
                crate::$group::$case(crate::bench::Bench::etcd()).await;
            })+)+
        }
    };
}

suite! {
    reads:
        an_empty_store_has_nothing
        a_document_is_found_by_its_key_and_its_prefixes
        prefixes_end_where_names_end
        lists_are_in_byte_order
        what_is_no_key_is_passed_over
        many_queries_are_answered_at_one_revision;
    writes:
        creating_needs_absence
        updating_and_deleting_need_the_revision
        any_writes_over_and_removes_what_may_not_be_there
        all_changes_are_made_or_none
        checks_guard_without_writing
        a_commit_has_one_revision_and_each_is_higher
        a_commit_that_can_not_be_is_invalid
        values_of_any_bytes_and_a_megabyte_come_back;
    concurrency:
        increments_of_eight_threads_lose_nothing
        one_of_many_creators_wins
        a_reader_never_sees_half_a_commit;
    watches:
        a_watch_tells_of_each_change_in_order
        a_watch_from_a_past_revision_catches_up
        a_watch_tells_only_of_its_prefix;
}
