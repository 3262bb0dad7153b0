//! Writes metrics one family after the other.

use std::fmt;

use namelock_types::histogram::Observed;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// The labels of one series.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// What is said of a family.
pub(super) struct About<'a> {
    name: &'a str,
    help: &'a str,
    unit: Option<Unit>,
}

impl<'a> About<'a> {
    pub(super) fn count(name: &'a str, help: &'a str) -> Self {
        let unit = None;
        Self { name, help, unit }
    }

    pub(super) fn seconds(name: &'a str, help: &'a str) -> Self {
        let unit = Some(Unit::Seconds);
        Self { name, help, unit }
    }

    pub(super) fn bytes(name: &'a str, help: &'a str) -> Self {
        let unit = Some(Unit::Bytes);
        Self { name, help, unit }
    }
}

/// What metrics are written to.
pub(super) struct Writer<'a>(pub(super) DescriptorEncoder<'a>);

impl Writer<'_> {
    pub(super) fn counter<'a, V: EncodeCounterValue>(
        &mut self,
        about: About<'_>,
        series: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) -> fmt::Result {
        self.family(about, MetricType::Counter, series, |mut metric, value: &V| {
            metric.encode_counter::<NoLabelSet, _, f64>(value, None)
        })
    }

    pub(super) fn gauge<'a, V: EncodeGaugeValue>(
        &mut self,
        about: About<'_>,
        series: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) -> fmt::Result {
        self.family(about, MetricType::Gauge, series, |mut metric, value: &V| {
            metric.encode_gauge(value)
        })
    }

    pub(super) fn histogram<'a>(
        &mut self,
        about: About<'_>,
        series: impl IntoIterator<Item = (Labels<'a>, Observed)>,
    ) -> fmt::Result {
        self.family(about, MetricType::Histogram, series, |mut metric, value: &Observed| {
            metric.encode_histogram::<NoLabelSet>(value.sum, value.count, &value.buckets, None)
        })
    }

    /// One gauge without labels.
    pub(super) fn level(&mut self, about: About<'_>, value: usize) -> fmt::Result {
        self.gauge(about, [(Labels::new(), value)])
    }

    fn family<'a, V>(
        &mut self,
        About { name, help, unit }: About<'_>,
        kind: MetricType,
        series: impl IntoIterator<Item = (Labels<'a>, V)>,
        encode: impl Fn(MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        let mut is_labelled = false;
        for (labels, value) in series {
            if labels.is_empty() && !is_labelled {
                return encode(metric, &value);
            }
            is_labelled = true;
            encode(metric.encode_family(&labels)?, &value)?;
        }
        Ok(())
    }
}
