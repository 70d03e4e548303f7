'use strict'

// The application of the benchmarks on Koa. Its argument says the sessions:
// none or memory, which is koa-generic-session's own store.

const Koa = require('koa')
const session = require('koa-generic-session')

const app = new Koa()
if (process.argv[2] === 'memory') {
  app.keys = ['k'.repeat(32)]
  app.use(session())
}

const routes = {
  '/bare': () => 0,
  '/fill': ctx => {
    Object.assign(ctx.session, {
      visits: 1,
      user: 'ada.lovelace@example.com',
      name: 'Ada Lovelace',
      roles: ['author', 'editor'],
      cart: { 'book-1843': 1, 'pen-12': 3 },
      csrf: 'c2VjcmV0LXRva2VuLW9mLTMyLWJ5dGVz'
    })
    return 0
  },
  '/read': ctx => ctx.session.visits,
  '/write': ctx => ++ctx.session.visits
}

app.use(ctx => {
  ctx.type = 'text'
  ctx.body = String(routes[ctx.path](ctx))
})

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`)
})

// Whatever ends the benchmark closes this end of the pipe.
process.stdin.resume()
process.stdin.on('end', () => process.exit())
