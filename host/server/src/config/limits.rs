//! What a tenant may use. To add a limit, add a field to the struct that uses it and an entry to [`TENANT`].
//!
//! Keeps P6: whatever a tenant can use has a limit here, and no `tenant.toml` goes beyond `[limits.max]`.

use namelock_account::Budgets;
use namelock_sandbox::CallLimits;
use serde::{Deserialize, Deserializer};

use super::given::{Given, Section};
use super::setting::{Entry, Reached, Setting};
use super::source::ConfigError;
use super::units::{GIB, KIB, MIB, MINUTE};
use crate::admission::AdmissionLimits;
use crate::error::ErrorKind::{HandlerDeadline, HandlerOutOfMemory, NameInvalid, TenantLimit, TenantUnavailable};

/// What a tenant may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest component, in bytes.
    pub component: usize,
    /// Longest artifact that its component is compiled to, in bytes.
    pub artifact: usize,
    /// How many calls it may have, and how fast they may come.
    pub admission: AdmissionLimits,
    /// What one call may use.
    pub call: CallLimits,
    /// What all its calls together may use in a second.
    pub budgets: Budgets,
    /// Those who follow its log at once.
    pub log_followers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component: 32 << 20,
            artifact: 128 << 20,
            admission: AdmissionLimits::default(),
            call: CallLimits::default(),
            budgets: Budgets::default(),
            log_followers: 4,
        }
    }
}

type Tenant = Setting<Limits>;

/// The limits of a tenant, which its `tenant.toml` may set anew.
pub(super) const TENANT: &[Tenant] = &[
    Tenant::size("limits.component", 1, GIB, |l| (&mut l.component).into())
        .says("Size of the tenant's component")
        .limit(
            Reached::Code(TenantUnavailable),
            "tenants::a_tenant_that_cannot_be_loaded_keeps_its_reason",
        ),
    Tenant::size("limits.artifact", 64 * KIB, 4 * GIB, |l| (&mut l.artifact).into())
        .says("What the tenant's component is compiled to")
        .limit(
            Reached::Code(TenantUnavailable),
            "reload::an_artifact_that_is_too_long_for_its_tenant_is_refused",
        ),
    Tenant::count("limits.calls", 1, 100_000, |l| (&mut l.admission.calls).into())
        .says("Calls of the tenant that run at once")
        .limit(
            Reached::Code(TenantLimit),
            "admission::a_tenant_that_is_full_is_refused_and_others_are_served",
        ),
    Tenant::count("limits.calls_waiting", 0, 1_000_000, |l| {
        (&mut l.admission.calls_waiting).into()
    })
    .says("Calls of the tenant that wait to run, or for their body")
    .limit(
        Reached::Code(TenantLimit),
        "admission::a_tenant_that_is_full_is_refused_and_others_are_served",
    ),
    Tenant::time("limits.calls_wait", 0, MINUTE, |l| (&mut l.admission.calls_wait).into())
        .says("How long a waiting call waits to run")
        .limit(
            Reached::Code(TenantLimit),
            "admission::a_tenant_that_is_full_is_refused_and_others_are_served",
        ),
    Tenant::count("limits.rate", 1, 1_000_000, |l| (&mut l.admission.rate).into())
        .says("Requests a second of the tenant")
        .limit(
            Reached::Code(TenantLimit),
            "admission::requests_that_come_too_fast_hear_when_the_next_may_come",
        ),
    Tenant::count("limits.burst", 1, 1_000_000, |l| (&mut l.admission.burst).into())
        .says("Requests at once after a pause")
        .limit(
            Reached::Code(TenantLimit),
            "admission::requests_that_come_too_fast_hear_when_the_next_may_come",
        ),
    Tenant::size("limits.memory", 64 * KIB, 4 * GIB, |l| (&mut l.call.memory).into())
        .says("All memories and tables of one call")
        .limit(Reached::Code(HandlerOutOfMemory), "guests::grow_memory"),
    Tenant::time("limits.cpu_time", 1, 10 * MINUTE, |l| (&mut l.call.cpu_time).into())
        .says("Time that a call runs; waiting for a lock or the database does not count")
        .limit(Reached::Code(HandlerDeadline), "guests::spin_holding_lease"),
    Tenant::time("limits.wall_time", 1, 10 * MINUTE, |l| (&mut l.call.wall_time).into())
        .says("Time from the start of a call to its end")
        .limit(Reached::Code(HandlerDeadline), "guests::sleep_holding_lease"),
    Tenant::count("limits.leases", 1, 1000, |l| (&mut l.call.leases).into())
        .says("Leases that a call holds at once")
        .limit(Reached::Code(TenantLimit), "guests::hoard_leases"),
    Tenant::count("limits.host_calls", 1, 4_000_000_000, |l| {
        (&mut l.call.host_calls).into()
    })
    .says("Host functions that a call may call, in total")
    .limit(Reached::Code(TenantLimit), "guests::host_call_flood"),
    Tenant::size("limits.host_bytes", KIB, GIB, |l| (&mut l.call.host_bytes).into())
        .says("Bytes passed to the host at once")
        .limit(Reached::Code(TenantLimit), "guests::big_string_out"),
    Tenant::count("limits.handles", 8, 1_000_000, |l| (&mut l.call.handles).into())
        .says("Leases, streams and pollables that a call holds at once")
        .limit(Reached::Code(TenantLimit), "guests::handle_flood"),
    Tenant::size("limits.random_bytes", 16, GIB, |l| (&mut l.call.random_bytes).into())
        .says("Random bytes requested at once")
        .limit(Reached::Code(TenantLimit), "guests::random_flood"),
    Tenant::count("limits.attributes", 0, 1024, |l| (&mut l.call.attributes).into())
        .says("Attributes of one registration")
        .limit(Reached::Code(NameInvalid), "guests::many_attributes"),
    Tenant::size("limits.attribute_bytes", 0, 64 * KIB, |l| {
        (&mut l.call.attribute_bytes).into()
    })
    .says("All attributes of one registration together")
    .limit(Reached::Code(NameInvalid), "guests::big_attributes"),
    Tenant::count("limits.registrations", 0, 1_000_000_000, |l| {
        (&mut l.call.quota.registrations).into()
    })
    .says("Registrations of the tenant in the names database; one that has ended counts for `names.retention`")
    .limit(
        Reached::Code(TenantLimit),
        "quota::a_tenant_at_its_registrations_is_answered_tenant_limit",
    ),
    Tenant::size("limits.registration_bytes", 0, 1024 * GIB, |l| {
        (&mut l.call.quota.bytes).into()
    })
    .says("Bytes of these: 128 for each, its name, owner, attributes as JSON, and the tenant's id")
    .limit(
        Reached::Code(TenantLimit),
        "quota::a_tenant_at_its_registrations_is_answered_tenant_limit",
    ),
    Tenant::size("limits.log_bytes", 0, 16 * MIB, |l| (&mut l.call.log_bytes).into())
        .says("Output of a call, as its lines stand in the log")
        .limit(Reached::Dropped, "guests::log_flood"),
    Tenant::size("limits.log_rate", KIB, GIB, |l| (&mut l.budgets.log_rate).into())
        .says("Log of all calls in a second, as it is written; ten times as much at once after a pause")
        .limit(Reached::Dropped, "guests::log_short_lines"),
    Tenant::count("limits.log_followers", 0, 64, |l| (&mut l.log_followers).into())
        .says("Those who follow the tenant's log at once")
        .limit(
            Reached::Code(TenantLimit),
            "follow::a_log_has_no_more_followers_than_it_may",
        ),
    Tenant::count("limits.writes", 0, 1_000_000, |l| (&mut l.call.writes).into())
        .says("Writes to the names database that a call begins")
        .limit(Reached::Code(TenantLimit), "guests::save_for_no_end"),
    Tenant::count("limits.write_rate", 1, 10_000_000, |l| {
        (&mut l.budgets.write_rate).into()
    })
    .says("Writes of all calls in a second; twice as many at once after a pause")
    .limit(Reached::Code(TenantLimit), "guests::save_for_no_end"),
    Tenant::count("limits.read_rate", 1, 10_000_000, |l| (&mut l.budgets.read_rate).into())
        .says("Reads by handlers in a second; twice as many at once after a pause")
        .limit(Reached::Code(TenantLimit), "guests::read_rate"),
    Tenant::count("limits.refusal_rate", 1, 1_000_000, |l| {
        (&mut l.budgets.refusal_rate).into()
    })
    .says(
        "Requests in a second that are answered `tenant_limit`, one after another; none waits for longer than a second",
    )
    .limit(
        Reached::Waits,
        "admission::those_who_are_refused_are_told_one_after_another",
    ),
];

impl Limits {
    /// Lists the limits that go beyond `max`; `place` names the place of a key.
    pub fn beyond(&self, max: &Self, place: impl Fn(&str) -> String) -> Vec<ConfigError> {
        let (mut limits, mut max) = (self.clone(), max.clone());
        let mut wrong = Vec::new();
        for setting in TENANT {
            if let (Some(value), Some(max)) = (setting.value(&mut limits), setting.value(&mut max))
                && value > max
            {
                let Entry { key, .. } = setting.entry;
                let problem = format!(
                    "{value} is above limits.max.{} of this host, {max}; lower the one or raise the other",
                    setting.entry.name()
                );
                wrong.push(ConfigError::new(place(key), problem).of(key));
            }
        }
        wrong
    }
}

/// The section `limits` of a `tenant.toml`, and `limits.max` of the host's file.
#[derive(Debug, Default)]
pub struct LimitsSection(pub(super) Given);

impl LimitsSection {
    /// The limits, with `defaults` for those that the section leaves out.
    pub fn over(&self, defaults: &Limits) -> Limits {
        let mut limits = defaults.clone();
        for setting in TENANT {
            if let Some(given) = self.0.get(setting.entry.key) {
                // A limit has no text that could be wrong, and a test stores every kind in its field.
                let stored = (setting.field)(&mut limits).set(given.value.clone());
                debug_assert_eq!(stored, Ok(()), "{}", setting.entry.key);
            }
        }
        limits
    }
}

impl<'de> Deserialize<'de> for LimitsSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::DeserializeSeed;
        let mut section = Self::default();
        Section {
            entries: entries(),
            given: &mut section.0,
            inner: None,
        }
        .deserialize(deserializer)?;
        Ok(section)
    }
}

/// What a `tenant.toml` may have in its section `limits`.
pub(super) fn entries() -> Vec<Entry> {
    TENANT.iter().map(|setting| setting.entry).collect()
}
