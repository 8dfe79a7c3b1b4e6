// Make the calls of a plan with the AWS SDK for JavaScript, and print what came of each; tests/e2e/strangers.py says
// what a plan is. Read from standard input, in the folder that holds the SDK: imports are resolved from there.

import { readFileSync } from "node:fs";
import * as metering from "@aws-sdk/client-marketplace-metering";

const plan = JSON.parse(readFileSync(process.argv.at(-1), "utf8"));
const clients = new Map();
const outcomes = {};

function clientOf(call) {
  const kind = JSON.stringify([call.keys, call.region, call.headers]);
  if (!clients.has(kind)) {
    const client = new metering.MarketplaceMeteringClient({
      region: call.region,
      ...(plan.endpoint ? { endpoint: plan.endpoint } : {}),
      credentials: {
        accessKeyId: call.keys.aws_access_key_id,
        secretAccessKey: call.keys.aws_secret_access_key,
        sessionToken: call.keys.aws_session_token ?? undefined,
      },
    });
    // What goes out is changed last, when it has been signed.
    const change = (next) => (args) => {
      for (const [name, value] of Object.entries(call.headers)) {
        for (const sent of Object.keys(args.request.headers)) {
          if (sent.toLowerCase() === name.toLowerCase()) delete args.request.headers[sent];
        }
        if (value !== null) args.request.headers[name] = value;
      }
      return next(args);
    };
    client.middlewareStack.add(change, { step: "deserialize", priority: "low", name: "changeHeaders" });
    clients.set(kind, client);
  }
  return clients.get(kind);
}

// The SDK takes and gives instants as Date.
function withDates(request) {
  const records = request.UsageRecords?.map((record) =>
    record.Timestamp === undefined ? record : { ...record, Timestamp: new Date(record.Timestamp * 1000) },
  );
  return records ? { ...request, UsageRecords: records } : request;
}

function withSeconds(key, value) {
  return this[key] instanceof Date ? this[key].getTime() / 1000 : value;
}

function classOf(error) {
  const modelled = metering[error.name];
  return modelled !== undefined && error instanceof modelled ? error.name : error.constructor.name;
}

for (const call of plan.calls) {
  try {
    const command = new metering[`${call.operation}Command`](withDates(call.request));
    const { $metadata, ...answer } = await clientOf(call).send(command);
    outcomes[call.name] = { answer, request_id: $metadata.requestId };
  } catch (error) {
    outcomes[call.name] = {
      code: error.name,
      message: error.message,
      class: classOf(error),
      status: error.$metadata?.httpStatusCode,
      request_id: error.$metadata?.requestId,
    };
  }
}
clients.forEach((client) => client.destroy());
process.stdout.write(JSON.stringify(outcomes, withSeconds));
