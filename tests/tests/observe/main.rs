//! What a cache tells those who watch a service: metrics that Prometheus scrapes, and documents that name only what
//! there is.

mod document;
mod metric;
mod scrape;
