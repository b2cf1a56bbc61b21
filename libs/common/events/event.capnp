@0xd7a1c5f0b83e9264;
# What is recorded of an inference that reached a server, and of an endpoint's coming and going.
#
# Append-only: a field keeps its number, its type and its meaning for ever; new fields get the next
# number, and their zero means "not told". So an older reader reads a newer event (it does not see
# what it does not know), and a newer reader reads an older one. `schemaVersion` counts these steps;
# it is there for people, no reader has to look at it.
#
# On the wire between a sink and the collector (see codec.py), numbers in network order:
#
#   batch = uint32 bytes that follow | uint32 bytes of the header | BatchHeader | Event, Event, ...
#   ack   = uint32 bytes that follow | Ack

struct Event {
  # One event. (server, bootEpoch, sequence) is its identity: what has been seen twice is one event.

  schemaVersion @0 :UInt16;
  server        @1 :Text;    # name of the process that emitted it, such as "ams-server-0"
  bootEpoch     @2 :UInt64;  # larger at each start of that process: Unix milliseconds of the start
  sequence      @3 :UInt64;  # 1, 2, 3, ... without gaps within a boot epoch

  union {
    inference @4 :InferenceEvent;
    lifecycle @5 :LifecycleEvent;
  }
}

struct InferenceEvent {
  # One attempt of one request, written by the server that served it; of a call that nobody served,
  # by the first server that it reached, with its error code.

  # Who asked, and for what.
  accountId       @0 :Text;
  modelId         @1 :Text;   # catalog name, such as "@cf/meta/llama-3.1-8b-instruct"
  task            @2 :Text;
  finetune        @3 :Text;   # id of the finetune, and
  adapter         @4 :Text;   # name of its adapter; both or none
  requestSource   @5 :RequestSource;
  requestId       @6 :Text;   # ours, 26 characters; all attempts of a request share it
  clientRequestId @7 :Text;   # the client's own x-request-id, or empty
  attempt         @8 :UInt16; # 0, 1, ...
  continuedFrom   @9 :UInt32; # parts that the client had already: a continued stream
  traceparent     @10 :Text;  # W3C trace context: the span that it ran under; or the caller's

  # How long it took.
  timestampMs     @11 :UInt64;   # Unix milliseconds of the arrival at the server
  requestTimeMs   @12 :Float64;  # from arrival to the end
  inferenceTimeMs @13 :Float64;  # in the backend: forwardUs, as milliseconds
  queuingTimeMs   @14 :Float64;  # in the local queue: permitWaitUs, as milliseconds
  timeToFirstToken @15 :Float64; # of a stream, milliseconds from arrival to the first part; else 0
  queueUs         @16 :UInt64;   # microseconds from arrival to the last permit (to the end, if it
                                 # got none): a first try at another endpoint is in it; of that
  permitWaitUs    @17 :UInt64;   # in the turnstile
  forwardUs       @18 :UInt64;   # in the backend until the end; of that
  firstPartUs     @19 :UInt64;   # until the first part, or the one answer; 0 where none came

  # What was used: nothing by a call that failed before it was answered, and by a broken stream what
  # it had until then. Units are those that only entry knows. The rest of a stream (continuedFrom)
  # has its own output alone: all else was used, and paid for, by the attempt that broke.
  neurons         @20 :Float64;  # by the model's price, of the fields that follow
  tokensIn        @21 :UInt64;
  tokensOut       @22 :UInt64;
  inputCharacters @23 :UInt64;
  pixels          @24 :UInt64;
  steps           @25 :UInt32;
  audioSeconds    @26 :Float64;
  bytesIn         @27 :UInt64;   # of the client's body, in each attempt
  bytesOut        @28 :UInt64;   # of the answer's payload, all parts

  # How it ended.
  errorCode       @29 :UInt32;   # public error code such as 3040; 0: none
  httpStatus      @30 :UInt16;   # of this end; a stream that broke had been answered with 200
  flags           @31 :UInt32;   # see the bits below

  # Where it ran.
  coloId          @32 :Text;     # serving colo, by name
  sourceColoId    @33 :Text;     # where the request entered, by name
  visitedColos    @34 :List(Text); # colos it had been to before this one, in order
  hops            @35 :UInt8;    # between colos
  modelContainerId @36 :Text;    # id of the instance, or of the endpoint where there is none
  endpoint        @37 :Text;     # host:port; of a replay, of the call whose answer was kept
  chosenBecause   @38 :Text;     # why this endpoint: a word such as "only", "emptier", "adapter"
  localQueueSize  @39 :UInt32;   # waiting in the shard's queue when the request arrived
  cost            @40 :UInt16;   # weight in permits, as asked for
  priority        @41 :UInt8;    # 0 to 9
  shard           @42 :UInt16;
  shardEpoch      @43 :UInt64;   # of the shard's ownership

  const streamed           :UInt32 = 1;
  const betaModel          :UInt32 = 2;   # `beta: true` in the catalog
  const externalEndpoint   :UInt32 = 4;   # an endpoint that others run
  const queuedInColo       :UInt32 = 8;   # it waited in a colo's queue, this one's or another's
  const unixSocket         :UInt32 = 16;  # it reached the server over a Unix socket
  const cancelled          :UInt32 = 32;  # the client left, or asked to cancel
  const forwarded          :UInt32 = 64;  # it came from another colo
  const background         :UInt32 = 128; # asked for as background work, or from an async queue
  const idempotencyReplay  :UInt32 = 256; # answered from a kept answer; the model did not run
}

enum RequestSource {
  # How the request came to entry. The numbers are those of inference.proto.

  unspecified   @0;
  workerBinding @1;
  pagesBinding  @2;
  rest          @3;
}

struct LifecycleEvent {
  # Something appeared in the world map (endTs is 0) or left it (the same beginTs again).

  beginTs   @0 :UInt64;  # Unix milliseconds
  endTs     @1 :UInt64;  # Unix milliseconds; 0 while present
  eventType @2 :EventType;
  modelId   @3 :Text;
  hostname  @4 :Text;    # of the machine that tracked it
  colo      @5 :Text;
  node      @6 :Text;    # empty for an external endpoint
  endpoint  @7 :Text;    # host:port

  enum EventType {
    unspecified @0;
    endpoint    @1;
  }
}

struct BatchHeader {
  # What a batch holds: events firstSequence .. firstSequence + count - 1 of one server's boot.

  server        @0 :Text;
  bootEpoch     @1 :UInt64;
  firstSequence @2 :UInt64;
  count         @3 :UInt32;
}

struct Ack {
  # The collector's word that every event up to lastSequence is in the store.

  server       @0 :Text;
  bootEpoch    @1 :UInt64;
  lastSequence @2 :UInt64;
}
