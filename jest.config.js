export default {
  testEnvironment: '<rootDir>/build/test/support/jest/environment.js',
  testRunner: '<rootDir>/build/test/support/jest/runner.js',
  roots: ['<rootDir>/build'],
  testMatch: ['<rootDir>/build/test/**/*.test.js'],
  transform: {},
  injectGlobals: false,
  globalSetup: '<rootDir>/build/test/support/jest/global-setup.js',
  // Jest leaves one core free, and on two runs everything in one process, whose heap then grows with every suite.
  maxWorkers: '100%',
  workerIdleMemoryLimit: '512MB',
  // Nothing is asserted about time; on a busy machine a test that starts processes may take its time.
  testTimeout: 30_000,
  coverageProvider: 'v8',
  collectCoverageFrom: ['build/src/**/*.js'],
}
