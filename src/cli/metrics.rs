//! `--metrics ADDR:PORT`: how a broker is, for Prometheus and for those who restart what hangs (MET-1
//! to MET-3).
//!
//! What is told is counts; no name, room, address or text is in it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::exit::{Code, Failure};
use crate::broker::{LATENCIES_MS, Report};
use crate::driver::BrokerCommand;

/// How many may ask at a time (MET-3).
const CONNECTIONS_MAX: usize = 16;
/// How long one of them may take (MET-3).
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// After how long a broker that does not answer is taken to hang (MET-3).
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// How long nothing is accepted after the system could not.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What OpenMetrics calls itself.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

type Commands = mpsc::Sender<BrokerCommand>;

/// Asks a running broker how it is; `None` if it does not answer.
pub(super) async fn report(commands: &Commands) -> Option<Report> {
    let (reply, answer) = oneshot::channel();
    let asking = async {
        let asked = commands.send(BrokerCommand::Report(reply)).await;
        asked.ok()?;
        answer.await.ok()
    };
    timeout(ANSWERS_WITHIN, asking).await.ok().flatten()
}

/// Listens there.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let cannot = |error: io::Error| {
        let message = format!("cannot listen on {address} for --metrics: {error}");
        Failure::new(Code::Unavailable, message)
    };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    tracing::info!(%address, "metrics are told");
    Ok(listener)
}

/// Answers whoever asks, for as long as the program runs.
pub(super) async fn serve(listener: TcpListener, commands: Commands) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "metrics: nobody can be accepted");
                sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        let commands = commands.clone();
        tokio::spawn(async move {
            // Who takes too long has to come again.
            let _ = timeout(CONNECTION_MAX, answer(stream, commands)).await;
            drop(place);
        });
    }
}

async fn answer(stream: TcpStream, commands: Commands) {
    let service = service_fn(|request: Request<Incoming>| {
        let commands = commands.clone();
        async move { Ok::<_, Infallible>(respond(&request, &commands).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "metrics: a question without an answer");
    }
}

async fn respond(request: &Request<Incoming>, commands: &Commands) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return said(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET\n".to_owned());
    }
    let path = request.uri().path();
    if !["/metrics", "/healthz", "/readyz"].contains(&path) {
        let known = "/metrics /healthz /readyz\n".to_owned();
        return said(StatusCode::NOT_FOUND, PLAIN, known);
    }
    let Some(report) = report(commands).await else {
        let hangs = "the broker does not answer\n".to_owned();
        return said(StatusCode::SERVICE_UNAVAILABLE, PLAIN, hangs);
    };
    match path {
        "/metrics" => match written(report) {
            Some(text) => said(StatusCode::OK, OPEN_METRICS, text),
            None => said(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, String::new()),
        },
        "/readyz" if !report.is_ready => {
            let why = "nobody new gets in now: the store has not opened, or memory is short\n";
            said(StatusCode::SERVICE_UNAVAILABLE, PLAIN, why.to_owned())
        }
        _ => said(StatusCode::OK, PLAIN, "ok\n".to_owned()),
    }
}

fn said(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// As Prometheus reads it (MET-2).
fn written(report: Report) -> Option<String> {
    let mut registry = Registry::with_prefix("tertulia");
    registry.register_collector(Box::new(Reported(report)));
    let mut text = String::new();
    encode(&mut text, &registry).ok()?;
    Some(text)
}

/// A report, to be written out.
#[derive(Debug)]
struct Reported(Report);

impl Collector for Reported {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Report { counters, .. } = &self.0;
        let mut counter = |name, help, unit: Option<&Unit>, count| {
            let counter = ConstCounter::new(count);
            let metric = encoder.encode_descriptor(name, help, unit, counter.metric_type())?;
            counter.encode(metric)
        };
        counter(
            "datagrams_received",
            "Datagrams that came in",
            None,
            counters.datagrams_in,
        )?;
        counter(
            "datagrams_sent",
            "Datagrams that went out",
            None,
            counters.datagrams_out,
        )?;
        counter(
            "received",
            "Bytes that came in",
            Some(&Unit::Bytes),
            counters.bytes_in,
        )?;
        counter(
            "sent",
            "Bytes that went out",
            Some(&Unit::Bytes),
            counters.bytes_out,
        )?;
        counter(
            "lines_stored",
            "Lines that were stored",
            None,
            counters.lines_stored,
        )?;
        counter(
            "events_untold",
            "Events for this program that it did not take in time",
            None,
            counters.events_untold,
        )?;
        self.encode_gauges(&mut encoder)?;
        let dropped = self
            .0
            .drops
            .iter()
            .map(|(reason, count)| (reason.label(), count));
        let help = "Datagrams that were dropped, by reason";
        by_reason(&mut encoder, ("datagrams_dropped", help), dropped)?;
        let help = "What was asked and refused, by reason";
        by_reason(&mut encoder, ("refused", help), counters.refused())?;
        self.encode_latency(&mut encoder)
    }
}

impl Reported {
    fn encode_gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let report = &self.0;
        let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (name, help, unit, value) in [
            (
                "links",
                "Links that are confirmed",
                None,
                count(report.links),
            ),
            (
                "half_open",
                "Handshakes that are half-open",
                None,
                count(report.half_open),
            ),
            ("rooms", "Rooms in use", None, count(report.rooms)),
            (
                "people",
                "Accounts that are present",
                None,
                count(report.people),
            ),
            (
                "store_pending",
                "Requests to the store under way",
                None,
                count(report.pending),
            ),
            (
                "held",
                "What is held for others",
                Some(&Unit::Bytes),
                size(report.held),
            ),
            (
                "held_max",
                "What may be",
                Some(&Unit::Bytes),
                size(report.memory_max),
            ),
        ] {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }

    fn encode_latency(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let latency = &self.0.counters.store_latency;
        let bounds = LATENCIES_MS.iter().map(|ms| *ms as f64 / 1_000.0);
        let buckets: Vec<(f64, u64)> = bounds
            .chain([f64::MAX])
            .zip(latency.counts.iter().copied())
            .collect();
        let mut metric = encoder.encode_descriptor(
            "store_latency",
            "How long publications take to be stored",
            Some(&Unit::Seconds),
            prometheus_client::metrics::MetricType::Histogram,
        )?;
        let sum = latency.total.as_secs_f64();
        let count = latency.counts.iter().sum();
        metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

fn by_reason(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    counts: impl Iterator<Item = (&'static str, u64)>,
) -> Result<(), std::fmt::Error> {
    let kind = prometheus_client::metrics::MetricType::Counter;
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (reason, count) in counts {
        let labels = [("reason", reason)];
        let family = metric.encode_family(&labels)?;
        ConstCounter::new(count).encode(family)?;
    }
    Ok(())
}
