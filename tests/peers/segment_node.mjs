// Sends events with @segment/analytics-node: URL KEY COUNT.
// Prints `id ID` for each event that the library reported as sent, `failed CODE N` for the others.
import { Analytics } from '@segment/analytics-node'

const [url, key, count] = process.argv.slice(2)
const analytics = new Analytics({ writeKey: key, host: url })
analytics.on('error', () => {})
for (let n = 0; n < Number(count); n++) {
  analytics.track(
    {
      userId: `user-${n % 7}`,
      event: 'Order Completed',
      properties: { n, total: 89.95, é: '😀' },
    },
    (error, context) => {
      if (error) console.log('failed', error.status ?? 'error', 1)
      else console.log('id', context.event.messageId)
    },
  )
}
await analytics.closeAndFlush({ timeout: 60000 })
