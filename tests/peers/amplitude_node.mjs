// Sends events with @amplitude/analytics-node: URL KEY COUNT.
// Prints `id ID` for each event that the library reported as sent, `failed CODE N` for the others.
// The last events are sent by `flush`, as at the end of a program; those before are waited for,
// because the library does not try again what `flush` sent in vain.
import { flush, init, track } from '@amplitude/analytics-node'

const LAST = 20
const [url, key, given] = process.argv.slice(2)
const count = Number(given)
const early = Math.max(count - LAST, 0)
const options = { serverUrl: `${url}/2/httpapi`, logLevel: 0, flushIntervalMillis: 500 }
await init(key, options).promise

function send(first, end) {
  const outcomes = []
  for (let n = first; n < end; n++) {
    const properties = { n, total: 89.95, é: '😀' }
    outcomes.push(track('Order Completed', properties, { user_id: `user-${n % 7}` }).promise)
  }
  return outcomes
}

const outcomes = await Promise.all(send(0, early))
const last = send(early, count)
await flush().promise
for (const { code, event } of [...outcomes, ...(await Promise.all(last))]) {
  if (code === 200) console.log('id', event.insert_id)
  else console.log('failed', code, 1)
}
