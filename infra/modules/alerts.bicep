// Alerts by e-mail: failed requests, throttled requests, slow requests, money.

param location string
param tags object
param token string
param email string
param workspaceId string

@description('Part of the requests answered with a 5xx status, in per cent, that raises the alert.')
param serverErrorPercent int

@description('Part of the requests answered with 429, in per cent, that raises the alert.')
param throttledPercent int

@description('95th percentile of the time to the response, in milliseconds, that raises the alert.')
param p95Milliseconds int

@description('Budget of the resource group a month, in the currency of the bill; 0 for none.')
param monthlyBudget int

@description('First day of the month in which the budget starts.')
param budgetStart string

resource group 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${token}'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'llm-gateway'
    emailReceivers: [{ name: 'operator', emailAddress: email, useCommonAlertSchema: true }]
  }
}

// Fewer requests than this in the window say nothing about a rate.
var fewest = 20
// The host's requests only: timers have no URL, and the probe would dilute every rate.
var requests = 'AppRequests | where isnotempty(Url) and Url !endswith "/health"'

var rules = [
  {
    name: 'server-errors'
    title: 'LLM gateway: server errors'
    text: 'Too many requests end with a 5xx status.'
    severity: 1
    threshold: serverErrorPercent
    query: '${requests} | summarize total = sum(ItemCount), hits = sumif(ItemCount, toint(ResultCode) >= 500) | extend value = iff(total < ${fewest}, 0.0, 100.0 * hits / total)'
  }
  {
    name: 'throttled'
    title: 'LLM gateway: throttled requests'
    text: 'Too many requests end with 429: every deployment is at its limit, or callers are at theirs.'
    severity: 2
    threshold: throttledPercent
    query: '${requests} | summarize total = sum(ItemCount), hits = sumif(ItemCount, ResultCode == "429") | extend value = iff(total < ${fewest}, 0.0, 100.0 * hits / total)'
  }
  {
    name: 'slow'
    title: 'LLM gateway: slow requests'
    text: 'The 95th percentile of the time to the response (of streams: to the first byte) is high.'
    severity: 2
    threshold: p95Milliseconds
    query: '${requests} | summarize total = sum(ItemCount), p95 = percentilew(DurationMs, ItemCount, 95) | extend value = iff(total < ${fewest}, 0.0, todouble(p95))'
  }
]

resource alerts 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for rule in rules: {
    name: 'alert-${rule.name}-${token}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: rule.title
      description: rule.text
      severity: rule.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      autoMitigate: true
      // The tables appear with the first telemetry, which is later than this.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: rule.query
            metricMeasureColumn: 'value'
            timeAggregation: 'Maximum'
            operator: 'GreaterThan'
            threshold: rule.threshold
            failingPeriods: { numberOfEvaluationPeriods: 2, minFailingPeriodsToAlert: 2 }
          }
        ]
      }
      actions: { actionGroups: [group.id] }
    }
  }
]

// Azure refuses to change the start of a budget, so an existing one is left alone:
// for another amount, delete it and deploy again.
@onlyIfNotExists()
resource budget 'Microsoft.Consumption/budgets@2024-08-01' = if (monthlyBudget > 0) {
  name: 'llm-gateway'
  properties: {
    category: 'Cost'
    amount: monthlyBudget
    timeGrain: 'Monthly'
    timePeriod: { startDate: budgetStart }
    notifications: {
      most: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: [email]
      }
      forecast: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: [email]
      }
    }
  }
}
