//! What a daemon counts about itself, and how Prometheus reads it: text format 0.0.4 (prometheus.io/docs, "Exposition
//! formats"). Names follow its rules: `chaffer_<daemon>_<what>_<unit>`, `_total` on counters, base units.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The content type of [`Text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of histograms of times, in seconds: from what a query takes to what people give up at.
pub const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// At zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds some.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The number so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Takes one away.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// Adds one for as long as what is returned lives, so that no way out is missed, a panic included.
    #[must_use]
    pub fn hold(&self) -> Held<'_> {
        self.increment();
        Held(self)
    }

    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// One of those that a [`Gauge`] counts.
#[derive(Debug)]
pub struct Held<'g>(&'g Gauge);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.decrement();
    }
}

/// How often something was how large.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what lies above all of them.
    buckets: Vec<Counter>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    /// With the upper bounds of its buckets, rising.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| Counter::default()).collect();
        Self { bounds, buckets, sum: AtomicU64::new(0.0f64.to_bits()) }
    }

    /// Counts one value.
    pub fn observe(&self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.increment();
        }
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure never declines.
        let _ = self.sum.fetch_update(Relaxed, Relaxed, add);
    }

    /// Counts a time.
    pub fn observe_time(&self, time: Duration) {
        self.observe(time.as_secs_f64());
    }
}

/// The answer of `/metrics` in the making.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a metric: what follows up to the next one are its values.
    pub fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One value.
    pub fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if place == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, value: &Counter) {
        self.metric(name, "counter", help);
        self.value(name, &[], value.get());
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "gauge", help);
        self.value(name, &[], value);
    }

    /// One histogram of a metric.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let bounds = histogram.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        let mut count = 0;
        for (bound, counter) in bounds.zip(&histogram.buckets) {
            count += counter.get();
            self.value(&bucket, &[labels, &[("le", &bound)]].concat(), count);
        }
        self.value(&format!("{name}_sum"), labels, f64::from_bits(histogram.sum.load(Relaxed)));
        self.value(&format!("{name}_count"), labels, count);
    }

    /// The process: memory, descriptors, processor, as every Prometheus client names them.
    pub fn process(&mut self) {
        let process = Process::now();
        self.gauge("process_resident_memory_bytes", "Resident memory size.", process.resident);
        self.gauge("process_open_fds", "Open file descriptors.", process.open_files);
        self.gauge("process_max_fds", "File descriptors that may be open.", process.max_files);
        self.metric("process_cpu_seconds_total", "counter", "Processor time spent.");
        self.value("process_cpu_seconds_total", &[], process.cpu_seconds);
        self.gauge(
            "process_start_time_seconds",
            "When the process started, since 1970.",
            process.started,
        );
    }

    /// The whole text.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

/// What Linux tells of this process, in proc(5); 0 where it tells nothing.
struct Process {
    resident: u64,
    open_files: usize,
    max_files: u64,
    cpu_seconds: f64,
    started: f64,
}

impl Process {
    #[expect(clippy::cast_precision_loss, reason = "ticks and pages of one process are few")]
    fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let number = |text: Option<&str>| text.and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
        let stat = read("/proc/self/stat");
        // The name may hold spaces and brackets; after it comes field 3.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |it| it.1).split_whitespace().collect();
        let ticks = |field: usize| {
            number(fields.get(field - 3).copied()) as f64
                / rustix::param::clock_ticks_per_second() as f64
        };
        let boot = read("/proc/stat");
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime "));
        let pages = number(read("/proc/self/statm").split_whitespace().nth(1));
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self {
            resident: pages * rustix::param::page_size() as u64,
            open_files: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            max_files: limit.unwrap_or(u64::MAX),
            cpu_seconds: ticks(14) + ticks(15),
            started: number(boot) as f64 + ticks(22),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_panics_is_counted_no_longer() {
        let gauge = Gauge::default();
        let kept = gauge.hold();
        let panicked = std::panic::catch_unwind(|| {
            let _held = gauge.hold();
            assert_eq!(gauge.get(), 1, "two are held: this panics");
        });
        assert!(panicked.is_err());
        assert_eq!(gauge.get(), 1);
        drop(kept);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_histogram_counts_each_value_up_to_its_bound() {
        let histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 9.0] {
            histogram.observe(value);
        }
        let mut text = Text::default();
        text.metric("x_seconds", "histogram", "X.");
        text.histogram("x_seconds", &[("a", "b\"c\\d\ne")], &histogram);
        let label = r#"a="b\"c\\d\ne""#;
        assert_eq!(
            text.finish(),
            format!(
                "# HELP x_seconds X.\n# TYPE x_seconds histogram\nx_seconds_bucket{{{label},le=\"1\"}} 2\n\
                 x_seconds_bucket{{{label},le=\"2\"}} 3\nx_seconds_bucket{{{label},le=\"+Inf\"}} 4\n\
                 x_seconds_sum{{{label}}} 12\nx_seconds_count{{{label}}} 4\n"
            )
        );
    }

    #[test]
    fn the_process_is_known() {
        let process = Process::now();
        assert!(process.resident > 1 << 20 && process.open_files >= 3 && process.max_files >= 3);
        let now = crate::time::now().timestamp();
        #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
        let started = process.started as i64;
        assert!((now - started).abs() < 3600, "{started} {now}");
    }
}
