//! A FHIR server that costs as little as one can: it reads what it is sent to its end, counts the entries, and says
//! of each that it is updated.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::TcpListener;

/// Stands once in every entry that Stoker sends, after its resource.
const MARK: &[u8] = br#","request":{"method":""#;

/// Entries of a Bundle, at most.
const MOST_ENTRIES: usize = 1000;

const STATEMENT: &str = r#"{"resourceType":"CapabilityStatement","status":"active","kind":"instance",
"fhirVersion":"4.0.1","format":["json"],"software":{"name":"Stoker's sink","version":"1"},
"rest":[{"mode":"server","interaction":[{"code":"batch"},{"code":"transaction"}]}]}"#;

/// As long as real servers make it.
const ENTRY: &str = r#"{"response":{"id":"00000000-0000-0000-0000-000000000000","status":"200",
"location":"Observation/00000000-0000-0000-0000-000000000000/_history/1","etag":"W/\"1\"",
"lastModified":"2026-01-01T00:00:00.000Z"}}"#;

/// Answers to Bundles, by their number of entries; each is written once.
type Answers = Arc<Vec<OnceLock<Bytes>>>;

/// Serves at `address` until the process ends; `tell` learns the base URL.
pub async fn serve(address: SocketAddr, tell: impl FnOnce(String)) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tell(format!("http://{}/fhir", listener.local_addr()?));
    let answers: Answers = Arc::new((0..=MOST_ENTRIES).map(|_| OnceLock::new()).collect());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&answers)));
            let connection = hyper::server::conn::http1::Builder::new();
            // A client that goes away is no fault of the sink.
            let _ = connection
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: Answers,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match *request.method() {
        Method::GET => Bytes::from_static(STATEMENT.as_bytes()),
        _ => match count(request.into_body()).await {
            Ok(entries) if entries <= MOST_ENTRIES => {
                answers[entries].get_or_init(|| updated(entries)).clone()
            }
            _ => Bytes::new(),
        },
    };
    let mut response = Response::new(Full::new(body));
    let json = hyper::header::HeaderValue::from_static("application/fhir+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// Reads a body to its end; how many entries it has.
async fn count(mut body: Incoming) -> hyper::Result<usize> {
    let mark = memmem::Finder::new(MARK);
    // The end of the last piece, with room for the start of the next: a mark may lie across.
    let mut border = Vec::with_capacity(2 * MARK.len());
    let mut entries = 0;
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else {
            continue;
        };
        border.extend_from_slice(&piece[..piece.len().min(MARK.len() - 1)]);
        entries += mark.find_iter(&border).count() + mark.find_iter(&piece).count();
        if piece.len() >= MARK.len() - 1 {
            border.clear();
            border.extend_from_slice(&piece[piece.len() - (MARK.len() - 1)..]);
        } else {
            border.drain(..border.len().saturating_sub(MARK.len() - 1));
        }
    }
    Ok(entries)
}

fn updated(entries: usize) -> Bytes {
    let entries = vec![ENTRY; entries].join(",");
    let answer =
        format!(r#"{{"resourceType":"Bundle","type":"batch-response","entry":[{entries}]}}"#);
    answer.into()
}
