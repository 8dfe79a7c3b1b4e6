// Make the calls of a plan with the AWS SDK for JavaScript as software on a workload does: it is told no keys.
// tests/e2e/workloads.py says what a plan is. Read from standard input, in the folder that holds the SDK.

import { readFileSync } from "node:fs";
import * as metering from "@aws-sdk/client-marketplace-metering";

const plan = JSON.parse(readFileSync(process.argv.at(-1), "utf8"));
const client = new metering.MarketplaceMeteringClient({ region: plan.region, maxAttempts: 1 });

async function outcomeOf(call) {
  const said = call.request.Timestamp === undefined
    ? call.request
    : { ...call.request, Timestamp: new Date(call.request.Timestamp * 1000) };
  try {
    const { $metadata, ...answer } = await client.send(new metering[`${call.operation}Command`](said));
    return answer;
  } catch (refused) {
    return { code: refused.name, class: refused.constructor.name };
  }
}

const outcomes = [];
for (const call of plan.calls) outcomes.push(await outcomeOf(call));
console.log(JSON.stringify({ found_by: null, outcomes }));
