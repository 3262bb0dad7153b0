//! How a call of each test guest ends, whatever else its host has to do.

/// The status and the code of the answer; of a success the code is the status.
pub(crate) type Ends = (u16, &'static str);

/// The code of a call whose time is over.
pub(crate) const DEADLINE: &str = "handler_deadline";

/// Makes a module of each guest's name with the constant `ENDS`, so that no guest can be forgotten or stated twice.
macro_rules! ends {
    ($(($status:literal, $code:expr): $($guest:ident)+;)+) => {
        $($(
            pub(crate) mod $guest {
                pub(crate) const ENDS: super::Ends = ($status, $code);
            }
        )+)+
    };
}

ends! {
    (201, "201"):
        critical_section make_up_names owner_with_control_characters plain save_another_name spin_in_free
        taken_by_itself trap_in_free;
    (422, "name_invalid"):
        acquire_all_wrongly acquire_in_a_loop apply_wrongly big_attributes churn_leases clock_flood count_calls detail_with_control_characters
        dirty_memory find_giant_name find_in_a_loop giant_detail hoard_leases list_names list_wrongly log_control_characters log_events log_flood
        log_invalid_utf8 log_short_lines log_to_both log_without_newline long_call many_attributes many_short_sleeps
        measure_time nearly_all_memory odd_names odd_settings open_files poll_flood read_environment read_settings
        read_stdin remaining_flood renew_in_a_loop save_for_ever save_for_no_time search_memory settings_flood steal
        wants_sockets;
    (423, "name_busy"):
        busy_for_ever keep_lease lease_in_global;
    (429, "tenant_limit"):
        apply_for_no_end big_string_out giant_answer giant_list handle_flood host_call_flood random_flood save_and_free_in_a_loop
        save_for_no_end save_in_a_loop;
    (500, "handler_out_of_memory"):
        grow_many_memories grow_memory grow_memory_at_once grow_table;
    (500, "handler_trapped"):
        acquire_broken_text acquire_into_nowhere acquire_wild_pointer big_frames call_in_realloc dirty_memory_and_trap
        dirty_memory_in_start drop_twice exit_holding_lease fail_as_named forge_lease forge_log_line forge_registration lie_in_realloc
        log_then_trap panic_holding_lease panic_in_drop recurse return_broken_text return_endless_list
        return_odd_pointer return_unknown_case return_wild_pointer sparse_data straight_line symbols_in_frames
        trap_after_return trap_holding_lease trap_in_long_name trap_in_mangled_name use_after_release;
    (503, "lease_lost"):
        save_too_late;
    (503, "tenant_unavailable"):
        no_export recurse_in_start spin_in_start too_big_memory too_big_table too_many_memories
        trap_in_start;
    (504, super::DEADLINE):
        dirty_memory_and_sleep fill_memory renew_for_ever save_then_sleep sleep_for_ever sleep_holding_lease spin_holding_lease
        spin_in_realloc wait_long;
}
