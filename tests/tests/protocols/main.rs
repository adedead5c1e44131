//! Each protocol that agents speak: a real client inside, a real server outside.

mod bodies;
mod grpc;
mod proxied;
mod websocket;
