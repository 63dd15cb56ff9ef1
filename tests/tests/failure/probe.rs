//! What is sent to a server that is away, however many call.
