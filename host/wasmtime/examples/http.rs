//! Gives a plain `wasi:http` component the lock on a name: `http COMPONENT ADDRESS memcached://HOST:PORT`.

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use namelock_lock::{LockConfig, LockUrl, Locks};
use namelock_wasmtime::{Leases, LocksHost, LocksView};
use tokio::{net::TcpListener, sync::oneshot};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Result, Store, error::Context as _};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::{ProxyPre, http::types::Scheme};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};
use wasmtime_wasi_http::{io::TokioIo, p2::body::HyperOutgoingBody};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [component, address, lock] = arguments.as_slice() else {
        wasmtime::bail!("usage: http COMPONENT ADDRESS memcached://HOST:PORT");
    };
    let locks = Locks::open(&lock.parse::<LockUrl>()?, LockConfig::default())?;
    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    namelock_wasmtime::add_to_linker(&mut linker)?;
    let pre = ProxyPre::new(linker.instantiate_pre(&Component::from_file(&engine, component)?)?)?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        let (pre, locks) = (pre.clone(), locks.clone());
        let service = service_fn(move |request| handle(pre.clone(), locks.clone(), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(client), service));
    }
}

async fn handle(pre: ProxyPre<State>, locks: Locks, request: Request<Incoming>) -> Result<Response<HyperOutgoingBody>> {
    let mut store = Store::new(pre.engine(), State::new(locks));
    let (answer, answered) = oneshot::channel();
    let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
    let out = store.data_mut().http().new_response_outparam(answer)?;
    let watch = store.data().leases.watch();
    // The component goes on after it has begun to answer, but not without its leases.
    tokio::spawn(async move {
        let call = async {
            let proxy = pre.instantiate_async(&mut store).await?;
            let handler = proxy.wasi_http_incoming_handler();
            handler.call_handle(&mut store, request, out).await
        };
        tokio::select! {
            ended = call => drop(ended.inspect_err(|error| eprintln!("{error:?}"))),
            () = watch.lost() => eprintln!("a lease was lost"),
        }
        store.data_mut().leases.release_all().await;
    });
    Ok(answered.await.context("the component did not answer")??)
}

struct State {
    locks: Locks,
    leases: Leases,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoRequests,
}

impl State {
    fn new(locks: Locks) -> Self {
        Self {
            locks,
            leases: Leases::new(8),
            table: ResourceTable::new(),
            wasi: WasiCtx::builder().inherit_stderr().build(),
            http: WasiHttpCtx::new(),
            hooks: NoRequests,
        }
    }
}

impl LocksHost for State {
    fn locks(&mut self) -> LocksView<'_> {
        LocksView::new(&self.locks, "turnstile", &mut self.leases, &mut self.table)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (ctx, table) = (&mut self.wasi, &mut self.table);
        WasiCtxView { ctx, table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let (ctx, table, hooks) = (&mut self.http, &mut self.table, &mut self.hooks);
        WasiHttpCtxView { ctx, table, hooks }
    }
}

/// Lets the component ask nobody.
struct NoRequests;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Io), Error>;

impl WasiHttpHooks for NoRequests {
    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}
